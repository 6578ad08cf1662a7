//! The errors of etcd and of the connection, mapped to those of the driver contract.

use std::error::Error as StdError;

use gosd_core::{Error, ErrorKind};
use gosd_net::{Fault, connection_error};
use tonic::{Code, Status};

use crate::layout::Keys;
use crate::options::Options;

/// The meaning of a server's message: the first entry whose text occurs in the message counts.
///
/// These are texts, because etcd uses one code for many errors, and a canceled watch has a reason and no
/// code.
const MEANINGS: &[(&str, ErrorKind, &str)] = &[
    ("authentication failed", ErrorKind::Denied, "correct the user or the password in the URL"),
    ("user name is empty", ErrorKind::Denied, "put user:password@ into the URL"),
    ("user name not found", ErrorKind::Denied, "correct the user in the URL"),
    ("authentication is not enabled", ErrorKind::Denied, "take user:password@ out of the URL"),
    ("invalid auth token", ErrorKind::Unavailable, "authenticating again"),
    ("revision of auth store is old", ErrorKind::Unavailable, "authenticating again"),
    ("space exceeded", ErrorKind::Unavailable, "compact, defragment and disarm the alarm"),
    ("timed out", ErrorKind::Timeout, "do enough members run?"),
    ("no leader", ErrorKind::Unavailable, "do enough members run?"),
    ("corrupt cluster", ErrorKind::Unavailable, "restore it from a backup"),
];

/// The error of a call, in the terms of the contract.
pub(crate) fn from_etcd(error: &etcd_client::Error, options: &Options) -> Error {
    use etcd_client::Error::{
        GRpcStatus, InvalidArgs, InvalidMetadataValue, InvalidUri, TransportError,
    };
    match error {
        GRpcStatus(status) => match status.source() {
            Some(cause) => connection_error(cause),
            None => from_server(status, options),
        },
        TransportError(cause) => connection_error(cause),
        InvalidArgs(_) | InvalidMetadataValue(_) | InvalidUri(_) => {
            Error::new(ErrorKind::Config, format!("the URL cannot be used: {error}"))
        }
        _ => Error::new(ErrorKind::Unavailable, error.to_string()),
    }
}

/// The error of a call, and whether a new connection may help: not if the server is well enough to refuse
/// something.
pub(crate) fn fault(error: &etcd_client::Error, options: &Options) -> Fault {
    let meaning = from_etcd(error, options);
    if is_refusal(error) { Fault::Server(meaning) } else { Fault::Connection(meaning) }
}

/// Whether the server has refused the call, which thus has no effect, now or later.
pub(crate) fn is_refusal(error: &etcd_client::Error) -> bool {
    of_server(error).is_some_and(|status| {
        // The client library also uses this code for a connection that has ended, as if the server had sent
        // it.
        let code = status.code();
        !matches!(
            code,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
        )
    })
}

/// The status that the server itself sent, if there is one.
pub(crate) fn of_server(error: &etcd_client::Error) -> Option<&Status> {
    match error {
        etcd_client::Error::GRpcStatus(status) if status.source().is_none() => Some(status),
        _ => None,
    }
}

/// Whether the server refuses a token that it, or another member, has issued.
pub(crate) fn is_of_token(error: &etcd_client::Error) -> bool {
    of_server(error).is_some_and(|status| {
        status.code() == Code::Unauthenticated
            || ["invalid auth token", "revision of auth store is old"]
                .iter()
                .any(|mark| status.message().contains(mark))
    })
}

/// Whether the server refuses to answer without authentication.
pub(crate) fn is_of_access(error: &etcd_client::Error) -> bool {
    use Code::{InvalidArgument, PermissionDenied, Unauthenticated};
    let codes = [InvalidArgument, PermissionDenied, Unauthenticated];
    of_server(error).is_some_and(|status| codes.contains(&status.code()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::parse("etcd://gosd:sesame@h?namespace=shop").unwrap()
    }

    #[test]
    fn what_the_server_says() {
        use ErrorKind::{Denied, Timeout, Unavailable, Unsupported};
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
            (Code::DataLoss, "corrupt cluster", Unavailable),
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
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(refused.into());
        let error = from_etcd(&status.into(), &options());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("refused"), "{error}");
        // An error that is known already is returned unchanged.
        let known = Error::new(ErrorKind::Denied, "your certificate has expired");
        let error = from_etcd(&Status::from_error(known.into()).into(), &options());
        assert_eq!(error.kind(), ErrorKind::Denied);
    }

    #[test]
    fn a_refusal_is_no_reason_for_another_connection() {
        for (code, text, is_refusal) in [
            (Code::ResourceExhausted, "mvcc: database space exceeded", true),
            (Code::PermissionDenied, "permission denied", true),
            (Code::NotFound, "requested lease not found", true),
            (Code::Unavailable, "no leader", false),
            (Code::Unknown, "Service was not ready: transport error", false),
            (Code::Unavailable, "request timed out", false),
        ] {
            let fault = fault(&Status::new(code, text).into(), &options());
            assert_eq!(matches!(fault, Fault::Server(_)), is_refusal, "{text}");
        }
        let broken = Status::from_error(std::io::Error::other("reset").into());
        assert!(matches!(fault(&broken.into(), &options()), Fault::Connection(_)));
    }
}
