//! Failures and refusals, mapped to kinds of errors.

use std::error::Error as StdError;

use gosd_core::{Error, ErrorKind};
use gosd_net::connection_error;
use http::StatusCode;

/// The error of a request that had no answer, or a part of one.
pub(crate) fn from_hyper(error: &(dyn StdError + 'static)) -> Error {
    let mut next = Some(error);
    while let Some(cause) = next {
        let Some(hyper) = cause.downcast_ref::<hyper::Error>() else {
            next = cause.source();
            continue;
        };
        if hyper.is_parse() {
            let message = "the server did not speak HTTP; use https:// if it speaks TLS";
            return Error::new(ErrorKind::Unavailable, message);
        }
        if hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled() {
            return Error::new(ErrorKind::Unavailable, "the answer broke off");
        }
        break;
    }
    connection_error(error)
}

/// The error of an answer that the API of gosd does not give, so that a proxy must have given it.
///
/// A proxy or an ingress answers in its own words while the registry behind it restarts, so this is an
/// outage, which passes. A redirect and a refusal are the exceptions: they last until somebody acts.
pub(crate) fn from_elsewhere(status: StatusCode, media_type: &str) -> Error {
    if status.is_redirection() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    {
        return from_status(status, None);
    }
    let media_type = if media_type.is_empty() { "nothing" } else { media_type };
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "the answer, {status} with {media_type}, is not from the API of gosd; \
             is it at this URL, and does the proxy before it reach it?"
        ),
    )
}

/// The error of a status of the API that is not a success, with the server's description.
pub(crate) fn from_status(status: StatusCode, detail: Option<&str>) -> Error {
    let (kind, advice) = match status.as_u16() {
        300..=399 => (ErrorKind::Config, "put the final address into the URL"),
        400 | 413 | 422 => (ErrorKind::Config, "the server allows less than the driver asks for"),
        401 => (ErrorKind::Denied, "put a token of the server into the URL"),
        403 => (ErrorKind::Denied, "the token or the address lacks the permission"),
        404 | 410 => (ErrorKind::Config, "correct the path or the namespace in the URL"),
        405 | 406 | 415 | 426 | 501 | 505 => {
            (ErrorKind::Unsupported, "the server does not offer what the driver needs")
        }
        408 | 504 => (ErrorKind::Timeout, "the server timed out; see its log"),
        409 => (ErrorKind::Data, "the server holds something else there"),
        429 => (
            ErrorKind::Unavailable,
            "raise the server's limits (gosd serve --clients-per-address), or ask less often",
        ),
        500..=599 => (ErrorKind::Unavailable, "see the server's log"),
        _ => (ErrorKind::Data, "is the API of gosd there?"),
    };
    let says = match detail {
        Some(detail) => format!(": {detail}"),
        None => String::new(),
    };
    Error::new(kind, format!("the server answered {status}{says}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        use ErrorKind::{Config, Data, Denied, Timeout, Unavailable, Unsupported};
        for (status, kind) in [
            (204, Data),
            (301, Config),
            (308, Config),
            (400, Config),
            (401, Denied),
            (403, Denied),
            (404, Config),
            (405, Unsupported),
            (408, Timeout),
            (409, Data),
            (413, Config),
            (415, Unsupported),
            (418, Data),
            (422, Config),
            (429, Unavailable),
            (500, Unavailable),
            (501, Unsupported),
            (502, Unavailable),
            (503, Unavailable),
            (504, Timeout),
            (507, Unavailable),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = from_status(status, Some("because"));
            assert_eq!(error.kind(), kind, "{status}");
            let text = error.to_string();
            assert!(text.contains(status.as_str()) && text.contains(": because; "), "{text}");
        }
    }

    #[test]
    fn what_the_api_does_not_say_is_an_outage() {
        for (status, kind) in [
            (200, ErrorKind::Unavailable),
            (400, ErrorKind::Unavailable),
            (404, ErrorKind::Unavailable),
            (405, ErrorKind::Unavailable),
            (501, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (308, ErrorKind::Config),
            (401, ErrorKind::Denied),
            (403, ErrorKind::Denied),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = from_elsewhere(status, "text/plain");
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.to_string().contains(status.as_str()), "{error}");
        }
    }
}
