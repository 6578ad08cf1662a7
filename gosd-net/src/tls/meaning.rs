//! Failures of TLS as errors of gosd, the same for every driver.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use gosd_core::{Error, ErrorKind};
use rustls::AlertDescription as Alert;

/// Finds a failure of TLS among the causes of an error, and makes it an error of gosd.
///
/// `None` if there is none, or if the peer has only closed the connection.
pub fn error(error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = as_tls(cause) {
            return Some(meaning(tls));
        }
        if let Some(known) = cause.downcast_ref::<Error>() {
            return Some(known.clone());
        }
        next = inner(cause).or_else(|| cause.source());
    }
    None
}

fn as_tls<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    cause.downcast_ref()
}

/// What wraps an error and is not open about it: an I/O error passes over what it holds, and gives the
/// source of that; and a shared pointer.
fn inner<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(io) = cause.downcast_ref::<io::Error>() {
        return io.get_ref().map(|inner| inner as _);
    }
    if let Some(shared) = cause.downcast_ref::<Arc<io::Error>>() {
        return Some(&**shared);
    }
    let shared = cause.downcast_ref::<Arc<dyn StdError + Send + Sync>>();
    shared.map(|shared| &**shared as _)
}

fn meaning(error: &rustls::Error) -> Error {
    use rustls::Error::{
        AlertReceived, InconsistentKeys, InvalidCertificate, InvalidMessage,
        NoCertificatesPresented, PeerIncompatible,
    };
    use rustls::InvalidMessage::{InvalidContentType, UnknownProtocolVersion};
    let (kind, message) = match error {
        AlertReceived(
            Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            // What servers of TLS 1.2 say that miss a certificate.
            | Alert::HandshakeFailure
            | Alert::NoCertificate
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate,
        ) => (
            ErrorKind::Denied,
            format!(
                "the server refused the client's certificate ({error}); see cert and key in the URL"
            ),
        ),
        AlertReceived(Alert::UnrecognisedName) => {
            (ErrorKind::Config, format!("the server has another name ({error}); see the URL's host"))
        }
        AlertReceived(Alert::NoApplicationProtocol) => (
            ErrorKind::Config,
            format!("the server speaks another protocol ({error}); see the URL's host and port"),
        ),
        AlertReceived(Alert::ProtocolVersion | Alert::InsufficientSecurity)
        | PeerIncompatible(_) => (
            ErrorKind::Unsupported,
            format!("the server speaks no TLS that is common ground ({error}); it needs TLS 1.2 or 1.3"),
        ),
        InvalidCertificate(_) => (
            ErrorKind::Config,
            format!("the server's certificate is not trusted ({error}); see ca in the URL"),
        ),
        InvalidMessage(InvalidContentType | UnknownProtocolVersion) => (
            ErrorKind::Config,
            "the server does not speak TLS; the URL's scheme is the one without".to_owned(),
        ),
        InconsistentKeys(_) | NoCertificatesPresented => {
            (ErrorKind::Config, format!("the cert and the key of the URL do not fit: {error}"))
        }
        _ => (ErrorKind::Unavailable, format!("TLS failed: {error}")),
    };
    Error::new(kind, message)
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, InvalidMessage, PeerIncompatible};

    use super::*;

    #[test]
    fn every_failure_has_one_meaning_however_it_is_wrapped() {
        use ErrorKind::{Config, Denied, Unavailable, Unsupported};
        let alert = rustls::Error::AlertReceived;
        for (cause, kind) in [
            (alert(Alert::BadCertificate), Denied),
            (alert(Alert::CertificateExpired), Denied),
            (alert(Alert::CertificateRequired), Denied),
            (alert(Alert::CertificateRevoked), Denied),
            (alert(Alert::CertificateUnknown), Denied),
            (alert(Alert::UnsupportedCertificate), Denied),
            (alert(Alert::UnknownCA), Denied),
            (alert(Alert::AccessDenied), Denied),
            (alert(Alert::HandshakeFailure), Denied),
            (alert(Alert::UnrecognisedName), Config),
            (alert(Alert::NoApplicationProtocol), Config),
            (alert(Alert::ProtocolVersion), Unsupported),
            (alert(Alert::InternalError), Unavailable),
            (rustls::Error::InvalidCertificate(CertificateError::Expired), Config),
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), Config),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), Config),
            (rustls::Error::InvalidMessage(InvalidMessage::MessageTooShort), Unavailable),
            (rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered), Unsupported),
            (rustls::Error::NoCertificatesPresented, Config),
            (rustls::Error::HandshakeNotComplete, Unavailable),
        ] {
            let shared: Arc<dyn StdError + Send + Sync> = Arc::new(io::Error::other(cause.clone()));
            let wrapped = Error::new(Unavailable, "a driver's own").caused_by(cause.clone());
            let ways: [&(dyn StdError + 'static); 4] = [
                &cause.clone(),
                &io::Error::other(cause.clone()),
                &io::Error::other(io::Error::other(cause.clone())),
                &Wrapped(shared),
            ];
            for way in ways {
                let found = error(way).unwrap_or_else(|| panic!("{way:?} is not understood"));
                assert_eq!(found.kind(), kind, "{way:?}: {found}");
            }
            // An error of gosd stays as it is.
            assert_eq!(error(&io::Error::other(wrapped)).unwrap().to_string(), "a driver's own");
        }
        assert!(error(&io::Error::from(io::ErrorKind::ConnectionReset)).is_none());
    }

    /// As the client of Redis wraps it.
    #[derive(Debug)]
    struct Wrapped(Arc<dyn StdError + Send + Sync>);

    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }
}
