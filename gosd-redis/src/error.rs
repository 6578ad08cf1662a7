//! The errors of Redis, mapped to those of the driver contract.

use gosd_core::{Error, ErrorKind};
use gosd_net::{Fault, connection_error};
use redis::RedisError;

/// What a server's error means: the first entry whose text occurs in it counts.
///
/// Texts and not codes, because a script's error carries the code of the command that failed at the
/// front, in the middle or not at all, by the version of the server.
const MEANINGS: &[(&str, ErrorKind, &str)] = &[
    ("WRONGTYPE", ErrorKind::Data, "other software uses a key of this namespace; choose another"),
    ("NOAUTH", ErrorKind::Denied, "put the password into the URL"),
    ("WRONGPASS", ErrorKind::Denied, "correct the user or the password in the URL"),
    ("invalid password", ErrorKind::Denied, "correct the password in the URL"),
    ("without any password configured", ErrorKind::Denied, "take the password out of the URL"),
    (
        "wrong number of arguments for 'auth'",
        ErrorKind::Config,
        "users came with Redis 6; leave only the password in the URL",
    ),
    ("NOPERM", ErrorKind::Denied, "grant it with ACL SETUSER"),
    (
        "can't run this command",
        ErrorKind::Denied,
        "grant it hset, hdel, zadd, zrem, xadd, set and +@read with ACL SETUSER",
    ),
    ("ACL failure", ErrorKind::Denied, "grant it with ACL SETUSER"),
    ("index is out of range", ErrorKind::Config, "correct the database in the URL"),
    ("invalid DB index", ErrorKind::Config, "correct the database in the URL"),
    ("SELECT is not allowed", ErrorKind::Config, "take the database out of the URL"),
    ("READONLY", ErrorKind::Unavailable, "connect to the master, by redis+sentinel if it moves"),
    ("OOM", ErrorKind::Unavailable, "raise its maxmemory, or free some"),
    ("MISCONF", ErrorKind::Unavailable, "see to the disk of the server"),
    ("NOREPLICAS", ErrorKind::Unavailable, "see to its replicas, or lower min-replicas-to-write"),
    ("BUSY", ErrorKind::Unavailable, "SCRIPT KILL ends what keeps it busy"),
    ("CLUSTERDOWN", ErrorKind::Unavailable, "see CLUSTER INFO for what it lacks"),
    ("MASTERDOWN", ErrorKind::Unavailable, "connect to the master, or see why it is down"),
    ("max number of clients", ErrorKind::Unavailable, "raise its maxclients"),
    // Redis names them `unknown command` and `Unknown Redis command`.
    ("nknown command", ErrorKind::Unsupported, NEEDS),
    ("nknown Redis command", ErrorKind::Unsupported, NEEDS),
    ("nknown subcommand", ErrorKind::Unsupported, NEEDS),
];

const NEEDS: &str = "gosd needs Redis 5.0 or later, with Lua scripts";

/// The error of a command, in the terms of the contract.
pub(crate) fn from_redis(error: &RedisError) -> Error {
    if let Some(errors) = error.clone().into_server_errors() {
        let text = errors.iter().map(|(_, error)| server_text(error)).next();
        return from_server(&text.unwrap_or_default());
    }
    match error.kind() {
        redis::ErrorKind::Io if error.is_timeout() => Error::new(
            ErrorKind::Timeout,
            "no answer came in time; is the server frozen, or the network slow?",
        ),
        redis::ErrorKind::Io => connection_error(error),
        redis::ErrorKind::Parse => Error::new(
            ErrorKind::Unavailable,
            format!("the answer is not of the Redis protocol: {error}"),
        ),
        _ => Error::new(ErrorKind::Data, format!("the answer was not understood: {error}")),
    }
}

/// Whether the server refuses the command to this user, or wants a password first.
pub(crate) fn is_denied(error: &RedisError) -> bool {
    from_redis(error).kind() == ErrorKind::Denied
}

/// The failure of a call, and whether a new connection may help.
pub(crate) fn fault(error: &RedisError) -> Fault {
    let is_of_server = error.clone().into_server_errors().is_some();
    let error = from_redis(error);
    // Such a server lacks the same on every connection.
    let lacks = ["OOM", "MISCONF", "NOREPLICAS", "BUSY"];
    if is_of_server && lacks.iter().any(|code| error.to_string().contains(code)) {
        return Fault::Server(error);
    }
    Fault::from(error)
}

/// Which clients a refusal of a write concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Unknown: the connection broke before an answer came.
    None,
    /// The user of this process, or everybody in this namespace.
    OfUser,
    /// Every client of this server, because it is a replica.
    OfReplica,
    /// Every client of the database.
    OfAll,
}

impl Refusal {
    pub(crate) fn of(error: &RedisError) -> Self {
        if error.clone().into_server_errors().is_none() {
            return Self::None;
        }
        let error = from_redis(error);
        match error.is_retryable() {
            false => Self::OfUser,
            true if error.to_string().contains("READONLY") => Self::OfReplica,
            true => Self::OfAll,
        }
    }
}

fn server_text(error: &redis::ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

/// The error for a message of the server.
pub(crate) fn from_server(text: &str) -> Error {
    // The arguments of an unknown command can contain a secret, and the rest is of no use.
    let end =
        [", with args beginning", " script: "].iter().filter_map(|mark| text.find(mark)).min();
    let text = text[..end.unwrap_or(text.len())].trim();
    match MEANINGS.iter().find(|(mark, ..)| text.contains(mark)) {
        Some((_, kind, advice)) => Error::new(*kind, format!("{text}; {advice}")),
        None => Error::new(ErrorKind::Unavailable, format!("{text}; another try may help")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says() {
        use ErrorKind::{Config, Data, Denied, Unavailable, Unsupported};
        for (text, kind) in [
            ("WRONGTYPE Operation against a key holding the wrong kind of value", Data),
            ("ERR Error running script (call to f_1): @user_script:4: WRONGTYPE Operation", Data),
            ("NOAUTH Authentication required.", Denied),
            ("WRONGPASS invalid username-password pair or user is disabled.", Denied),
            ("ERR invalid password", Denied),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                Denied,
            ),
            ("NOPERM this user has no permissions to run the 'xread' command", Denied),
            (
                "ERR The user executing the script can't run this command or subcommand script: 1",
                Denied,
            ),
            (
                "NOPERM ACL failure in script: User a has no permissions to run the 'hset' command",
                Denied,
            ),
            ("ERR wrong number of arguments for 'auth' command", Config),
            ("ERR DB index is out of range", Config),
            ("ERR SELECT is not allowed in cluster mode", Config),
            ("ERR unknown command `EVALSHA`, with args beginning with: ", Unsupported),
            ("ERR Unknown Redis command called from script script: 1", Unsupported),
            ("READONLY You can't write against a read only replica.", Unavailable),
            ("OOM command not allowed when used memory > 'maxmemory'.", Unavailable),
            ("MISCONF Redis is configured to save RDB snapshots, but can't", Unavailable),
            ("LOADING Redis is loading the dataset in memory", Unavailable),
            ("CLUSTERDOWN The cluster is down", Unavailable),
            ("MASTERDOWN Link with MASTER is down", Unavailable),
            ("BUSY Redis is busy running a script.", Unavailable),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Unavailable),
            ("MOVED 1 10.0.0.1:6379", Unavailable),
            ("ASK 1 10.0.0.1:6379", Unavailable),
            ("ERR max number of clients reached", Unavailable),
            ("UNBLOCKED force unblock from blocking operation", Unavailable),
            ("SOMETHING new", Unavailable),
        ] {
            let error = from_server(text);
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.to_string().contains(text.split(' ').next().unwrap()), "{error}");
        }
    }

    #[test]
    fn arguments_are_not_shown() {
        let error = from_server("ERR unknown command 'AUTH', with args beginning with: 'sesame' ");
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
}
