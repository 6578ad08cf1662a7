//! The errors of PostgreSQL, mapped to those of the driver contract.

use gosd_core::{Error, ErrorKind};
use gosd_net::connection_error;
use tokio_postgres::Error as PgError;

/// The meaning of a server's error, by the beginning of its code (SQLSTATE). The first match counts.
const MEANINGS: &[(&str, ErrorKind, &str)] = &[
    ("28P01", ErrorKind::Denied, "correct the user or the password in the URL"),
    ("28", ErrorKind::Denied, "check its pg_hba.conf, and sslmode and the user in the URL"),
    ("3D000", ErrorKind::Config, "correct the database in the URL, or create it"),
    ("42501", ErrorKind::Denied, "grant that right; the documentation of gosd-postgres lists all"),
    (GONE[0], ErrorKind::Unavailable, WAS_DROPPED),
    (GONE[1], ErrorKind::Unavailable, WAS_DROPPED),
    (GONE[2], ErrorKind::Unavailable, WAS_DROPPED),
    ("42", ErrorKind::Data, FOREIGN),
    ("22", ErrorKind::Data, FOREIGN),
    ("23", ErrorKind::Data, FOREIGN),
    ("0A", ErrorKind::Unsupported, "gosd needs PostgreSQL 12 or later"),
    (READ_ONLY, ErrorKind::Unavailable, "is it a standby, or default_transaction_read_only on?"),
    ("53100", ErrorKind::Unavailable, "make room on the disk of the server"),
    ("53300", ErrorKind::Unavailable, "raise its max_connections, or use a pooler"),
    ("53", ErrorKind::Unavailable, "check the resources of the server"),
    ("55P03", ErrorKind::Unavailable, "another session locks a table of gosd; see pg_locks"),
    ("57014", ErrorKind::Timeout, "check its statement_timeout"),
    ("57P03", ErrorKind::Unavailable, "the server is starting or stopping; try again later"),
    ("57P", ErrorKind::Unavailable, "the server ended the connection; another try may help"),
];

const READ_ONLY: &str = "25006";
/// No such table, schema or function, because somebody has dropped it.
const GONE: [&str; 3] = ["42P01", "3F000", "42883"];
const WAS_DROPPED: &str = "the schema gosd was dropped, and will be created again";
const FOREIGN: &str = "the schema gosd was not made by gosd; drop it, or use another database";

/// The error of a call, in the contract's terms.
pub(crate) fn from_postgres(error: &PgError) -> Error {
    if let Some(db) = error.as_db_error() {
        return from_server(db.code().code(), db.message());
    }
    if let Some(known) = gosd_net::tls::error(error) {
        return known;
    }
    if error.is_closed() {
        return Error::new(ErrorKind::Unavailable, "the server closed the connection");
    }
    // The client library distinguishes these errors only by their texts.
    match error.to_string().as_str() {
        "invalid configuration" => {
            Error::new(ErrorKind::Denied, "the server wants a password; put it into the URL")
        }
        "authentication error" => Error::new(
            ErrorKind::Denied,
            format!("{}; see the password in the URL", shown_cause(error)),
        ),
        "error communicating with the server" => connection_error(error),
        other => Error::new(
            ErrorKind::Data,
            format!("the answer was not understood: {other}: {}", shown_cause(error)),
        ),
    }
}

/// The error for a code and message of the server.
fn from_server(code: &str, message: &str) -> Error {
    // If the server's messages are in another language, the general advice is used.
    if code == "28000" && message.contains("client certificate") {
        let message = format!(
            "the server refused the client's certificate ({message}); see cert and key in the URL"
        );
        return Error::new(ErrorKind::Denied, message);
    }
    match MEANINGS.iter().find(|(start, ..)| code.starts_with(start)) {
        Some((_, kind, advice)) => Error::new(*kind, format!("{message} ({code}); {advice}")),
        None => {
            let message = format!("{message} ({code}); another try may help");
            Error::new(ErrorKind::Unavailable, message)
        }
    }
}

fn shown_cause(error: &PgError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

/// Whether the server answered with this error, so that the connection still works.
pub(crate) fn is_of_server(error: &PgError) -> bool {
    // After an error of class 57P the server ends the connection.
    error.code().is_some_and(|code| !code.code().starts_with("57P"))
}

/// Whether another connection may help: the server cannot write, or the schema is gone.
pub(crate) fn wants_another(error: &PgError) -> bool {
    !is_of_server(error) || is_gone(error) || has_code(error, READ_ONLY)
}

/// Whether the tables no longer exist.
pub(crate) fn is_gone(error: &PgError) -> bool {
    GONE.iter().any(|code| has_code(error, code))
}

fn has_code(error: &PgError, code: &str) -> bool {
    error.code().is_some_and(|it| it.code() == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says() {
        use ErrorKind::{Config, Data, Denied, Timeout, Unavailable, Unsupported};
        for (code, kind) in [
            ("28P01", Denied),
            ("28000", Denied),
            ("42501", Denied),
            ("3D000", Config),
            ("3F000", Unavailable),
            ("42P01", Unavailable),
            ("42883", Unavailable),
            ("42703", Data),
            ("22P02", Data),
            ("23502", Data),
            ("0A000", Unsupported),
            ("25006", Unavailable),
            ("40P01", Unavailable),
            ("53100", Unavailable),
            ("53200", Unavailable),
            ("53300", Unavailable),
            ("55P03", Unavailable),
            ("57014", Timeout),
            ("57P01", Unavailable),
            ("57P03", Unavailable),
            ("58030", Unavailable),
            ("XX000", Unavailable),
        ] {
            let error = from_server(code, "it failed");
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.to_string().starts_with(&format!("it failed ({code}); ")), "{error}");
        }
    }
}
