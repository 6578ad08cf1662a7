//! What etcd and the way to it say, as kinds of errors.

use std::error::Error as StdError;

use gosd_core::{Error, ErrorKind};
use tonic::{Code, Status};

use crate::layout::Keys;
use crate::options::Options;

/// What a server's message means: the first entry whose text occurs in it counts.
///
/// Texts, because etcd gives many things one code, and a canceled watch has a reason and no code.
const MEANINGS: &[(&str, ErrorKind, &str)] = &[
    ("authentication failed", ErrorKind::Denied, "correct the user or the password in the URL"),
    ("user name is empty", ErrorKind::Denied, "put user:password@ into the URL"),
    ("user name not found", ErrorKind::Denied, "correct the user in the URL"),
    ("authentication is not enabled", ErrorKind::Denied, "take user:password@ out of the URL"),
    ("invalid auth token", ErrorKind::Unavailable, "authenticating anew"),
    ("revision of auth store is old", ErrorKind::Unavailable, "authenticating anew"),
    ("space exceeded", ErrorKind::Unavailable, "compact, defragment and disarm the alarm"),
    ("request timed out", ErrorKind::Timeout, "has the cluster a quorum?"),
    ("no leader", ErrorKind::Unavailable, "has the cluster a quorum?"),
    ("corrupt cluster", ErrorKind::Data, "restore it from a backup"),
];

/// The error of a call, in the terms of the contract.
pub(crate) fn from_etcd(error: &etcd_client::Error, options: &Options) -> Error {
    use etcd_client::Error as Etcd;
    match error {
        Etcd::GRpcStatus(status) => match status.source() {
            Some(cause) => eprintln_chain(cause),
            None => from_server(status.code(), status.message(), options),
        },
        Etcd::TransportError(error) => eprintln_chain(error),
        Etcd::InvalidArgs(_) | Etcd::InvalidUri(_) | Etcd::InvalidMetadataValue(_) => {
            Error::new(ErrorKind::Config, error.to_string())
        }
        _ => Error::new(ErrorKind::Unavailable, error.to_string()),
    }
}

/// Why a watch was canceled.
pub(crate) fn from_reason(reason: &str, options: &Options) -> Error {
    from_server(Code::Unknown, reason, options)
}

fn eprintln_chain(error: &(dyn StdError + 'static)) -> Error {
    let mut text = String::new();
    let mut e = Some(error);
    while let Some(x) = e { text += &format!(" | {x:?}"); e = x.source(); }
    Error::new(ErrorKind::Unavailable, text)
}

fn from_server(code: Code, message: &str, options: &Options) -> Error {
    let told = message.trim_start_matches("etcdserver: ");
    if message.contains("permission denied") {
        let user = options.credentials.as_ref().map_or("nobody", |(user, _)| user);
        let prefix = Keys::new(&options.namespace);
        return Error::new(ErrorKind::Denied, format!("{told}: the user {user:?} must be able to read and write {:?}", prefix.prefix()));
    }
    if let Some((_, kind, advice)) = MEANINGS.iter().find(|(mark, ..)| message.contains(mark)) {
        return Error::new(*kind, format!("{told}; {advice}"));
    }
    match code {
        Code::Unimplemented => Error::new(ErrorKind::Unsupported, told),
        Code::DeadlineExceeded => Error::new(ErrorKind::Timeout, told),
        _ => Error::new(ErrorKind::Unavailable, told),
    }
}
