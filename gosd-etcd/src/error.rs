//! What etcd and the way to it say, as kinds of errors.

use std::error::Error as StdError;
use std::{io, iter};

use gosd_core::{Error, ErrorKind};
use rustls::AlertDescription as Alert;
use tonic::{Code, Status};

use crate::layout::Keys;
use crate::options::Options;

/// What a server's message means: the first entry whose text occurs in it counts.
///
/// Texts, because etcd has one code for many things, and a canceled watch has a reason and no code.
const MEANINGS: &[(&str, ErrorKind, &str)] = &[
    ("authentication failed", ErrorKind::Denied, "correct the user or the password in the URL"),
    ("user name is empty", ErrorKind::Denied, "put user:password@ into the URL"),
    ("user name not found", ErrorKind::Denied, "correct the user in the URL"),
    ("authentication is not enabled", ErrorKind::Denied, "take user:password@ out of the URL"),
    ("invalid auth token", ErrorKind::Unavailable, "authenticating anew"),
    ("revision of auth store is old", ErrorKind::Unavailable, "authenticating anew"),
    ("space exceeded", ErrorKind::Unavailable, "compact, defragment and disarm the alarm"),
    ("timed out", ErrorKind::Timeout, "do enough members run?"),
    ("no leader", ErrorKind::Unavailable, "do enough members run?"),
    ("corrupt cluster", ErrorKind::Data, "restore it from a backup"),
];

/// The error of a call, in the terms of the contract.
pub(crate) fn from_etcd(error: &etcd_client::Error, options: &Options) -> Error {
    use etcd_client::Error::{
        GRpcStatus, InvalidArgs, InvalidMetadataValue, InvalidUri, TransportError,
    };
    match error {
        GRpcStatus(status) => match status.source() {
            Some(cause) => from_transport(cause),
            None => from_server(status, options),
        },
        TransportError(cause) => from_transport(cause),
        InvalidArgs(_) | InvalidMetadataValue(_) | InvalidUri(_) => {
            Error::new(ErrorKind::Config, format!("the URL cannot be used: {error}"))
        }
        _ => Error::new(ErrorKind::Unavailable, error.to_string()),
    }
}

/// Why a watch was canceled.
pub(crate) fn from_reason(reason: &str, options: &Options) -> Error {
    from_server(&Status::unknown(reason), options)
}

fn from_server(status: &Status, options: &Options) -> Error {
    let text = status.message().trim_start_matches("etcdserver: ");
    if text.contains("permission denied") {
        let keys = Keys::new(&options.namespace);
        let prefix = keys.prefix();
        let user = options.credentials.as_ref().map_or("client", |(user, _)| user);
        let message = format!(
            "{text}: {user} may not read and write what begins with {prefix}; grant it with \
             etcdctl role grant-permission ROLE readwrite --prefix=true {prefix}"
        );
        return Error::new(ErrorKind::Denied, message);
    }
    if let Some((_, kind, advice)) = MEANINGS.iter().find(|(mark, ..)| text.contains(mark)) {
        return Error::new(*kind, format!("{text}; {advice}"));
    }
    match status.code() {
        Code::Unimplemented => {
            Error::new(ErrorKind::Unsupported, format!("{text}; gosd needs etcd 3.4 or later"))
        }
        Code::DeadlineExceeded => Error::new(ErrorKind::Timeout, text),
        _ => Error::new(ErrorKind::Unavailable, text),
    }
}

/// The failure of the way to the server, or of the attempt to make one.
pub(crate) fn from_transport(error: &(dyn StdError + 'static)) -> Error {
    let causes = || iter::successors(Some(error), |&cause| cause.source());
    if let Some(tls) = causes().find_map(as_tls) {
        return from_tls(tls);
    }
    let root = causes().last().unwrap_or(error);
    Error::new(ErrorKind::Unavailable, format!("the connection failed: {root}"))
}

fn as_tls<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref()).or_else(|| cause.downcast_ref())
}

fn from_tls(error: &rustls::Error) -> Error {
    use rustls::Error::{
        AlertReceived, InconsistentKeys, InvalidCertificate, NoCertificatesPresented,
    };
    let (kind, message) = match error {
        AlertReceived(
            Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::UnknownCA,
        ) => (
            ErrorKind::Denied,
            format!("the server refused the client's certificate: {error}; see cert in the URL"),
        ),
        InvalidCertificate(_) => (
            ErrorKind::Config,
            format!("the server's certificate is not trusted: {error}; see ca in the URL"),
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
    use rustls::CertificateError;

    use super::*;

    fn options() -> Options {
        Options::parse("etcd://gosd:sesame@h?namespace=shop").unwrap()
    }

    #[test]
    fn what_the_server_says() {
        use ErrorKind::{Data, Denied, Timeout, Unavailable, Unsupported};
        for (code, text, kind) in [
            (Code::PermissionDenied, "permission denied", Denied),
            (Code::InvalidArgument, "authentication failed, invalid user ID or password", Denied),
            (Code::InvalidArgument, "user name is empty", Denied),
            (Code::FailedPrecondition, "user name not found", Denied),
            (Code::FailedPrecondition, "authentication is not enabled", Denied),
            (Code::Unauthenticated, "invalid auth token", Unavailable),
            (Code::InvalidArgument, "revision of auth store is old", Unavailable),
            (Code::Unavailable, "no leader", Unavailable),
            (Code::Unavailable, "leader changed", Unavailable),
            (Code::Unavailable, "request timed out", Timeout),
            (Code::Unavailable, "request timed out, possibly due to connection lost", Timeout),
            (Code::DeadlineExceeded, "context deadline exceeded", Timeout),
            (Code::ResourceExhausted, "mvcc: database space exceeded", Unavailable),
            (Code::ResourceExhausted, "too many requests", Unavailable),
            (Code::NotFound, "requested lease not found", Unavailable),
            (Code::DataLoss, "corrupt cluster", Data),
            (Code::Unimplemented, "unknown service etcdserverpb.Watch", Unsupported),
            (Code::Unknown, "something new", Unavailable),
        ] {
            for prefix in ["", "etcdserver: "] {
                let status = Status::new(code, format!("{prefix}{text}"));
                let error = from_etcd(&status.into(), &options());
                assert_eq!(error.kind(), kind, "{text}");
                assert!(error.to_string().starts_with(text), "{error}");
                assert!(!format!("{error:?}").contains("sesame"), "{error:?}");
            }
        }
    }

    #[test]
    fn a_missing_permission_names_the_prefix() {
        let error = from_reason("etcdserver: permission denied", &options());
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("/shop/instances/"), "{error}");
        assert!(error.to_string().contains("gosd"), "{error}");
    }

    #[test]
    fn what_happens_on_the_way() {
        for (cause, kind) in [
            (rustls::Error::AlertReceived(Alert::BadCertificate), ErrorKind::Denied),
            (rustls::Error::AlertReceived(Alert::InternalError), ErrorKind::Unavailable),
            (rustls::Error::InvalidCertificate(CertificateError::Expired), ErrorKind::Config),
            (rustls::Error::NoCertificatesPresented, ErrorKind::Config),
            (rustls::Error::HandshakeNotComplete, ErrorKind::Unavailable),
        ] {
            assert_eq!(from_transport(&cause).kind(), kind, "{cause}");
            let wrapped = io::Error::other(cause.clone());
            assert_eq!(from_transport(&wrapped).kind(), kind, "{cause}");
        }
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(refused.into());
        let error = from_etcd(&status.into(), &options());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
