use std::time::Duration;

use etcd_client::{Client, ConnectOptions, KvClient, WatchClient};
use gosd_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::error;
use crate::options::Options;
use crate::tls::{self, Certificates};

/// How long it may take to connect to one member and to hear its first answer.
const CONNECT: Duration = Duration::from_secs(2);
/// The oldest version whose watches answer when they are asked whether they are alive.
const OLDEST: (u32, u32) = (3, 4);
/// As much as gRPC can carry: the whole registry is one reply.
const LARGEST_REPLY: usize = i32::MAX as usize;

/// Connects to one of the members, asking each of them once at most.
///
/// A member that knows no leader refuses to answer, so one that is cut off from the others is
/// passed over.
pub(crate) async fn open(options: &Options) -> Result<Client> {
    let mut hosts: Vec<&String> = options.hosts.iter().collect();
    // So that clients spread, and a member that does not answer holds up only some attempts.
    fastrand::shuffle(&mut hosts);
    let mut failures = Vec::new();
    for host in hosts {
        let dialed = timeout(CONNECT, Box::pin(dial(host, options))).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("no answer within {CONNECT:?}")))
        });
        match dialed {
            Ok(client) => return Ok(client),
            Err(failure) => failures.push((host, failure)),
        }
    }
    let all: Vec<String> =
        failures.iter().map(|(host, failure)| format!("{host}: {failure}")).collect();
    let all = all.join("; ");
    // A refusal tells more than silence.
    Err(match failures.iter().find(|(_, failure)| !failure.is_retryable()) {
        Some((_, refusal)) => Error::new(refusal.kind(), all),
        None => Error::new(ErrorKind::Unavailable, format!("{all}; does etcd run there?")),
    })
}

/// Reads of the registry are larger than what the client library takes unless it is told.
pub(crate) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(LARGEST_REPLY)
}

/// The same for the changes.
pub(crate) fn watch(client: &Client) -> WatchClient {
    client.watch_client().max_decoding_message_size(LARGEST_REPLY)
}

/// Connects to a member; if that fails, finds out whether the URL is to blame.
async fn dial(host: &str, options: &Options) -> Result<Client> {
    let Some(files) = &options.tls else {
        let plain = connect(&format!("http://{host}"), connect_options(options), options).await;
        return match plain {
            Err(error) if error.is_retryable() && tls::is_spoken_by(host).await => {
                Err(wrong_scheme("the server speaks TLS; the scheme of its URL is etcds"))
            }
            other => other,
        };
    };
    let certificates = Certificates::read(files).await?;
    let secure = connect_options(options).with_tls(certificates.options());
    match connect(&format!("https://{host}"), secure, options).await {
        Err(error) if error.is_retryable() => {
            if let Some(refusal) = certificates.refusal(host).await {
                return Err(refusal);
            }
            let plain = connect(&format!("http://{host}"), ConnectOptions::new(), options).await;
            Err(match plain {
                Ok(_) => {
                    wrong_scheme("the server does not speak TLS; the scheme of its URL is etcd")
                }
                Err(_) => error,
            })
        }
        other => other,
    }
}

fn wrong_scheme(message: &str) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn connect_options(options: &Options) -> ConnectOptions {
    let connect = ConnectOptions::new().with_require_leader(true);
    match &options.credentials {
        Some((user, password)) => connect.with_user(user, password),
        None => connect,
    }
}

async fn connect(url: &str, connect: ConnectOptions, options: &Options) -> Result<Client> {
    let fail = |error| error::from_etcd(&error, options);
    let mut client = Client::connect([url], Some(connect)).await.map_err(fail)?;
    let status = client.status().await.map_err(fail)?;
    match version(status.version()) {
        Some(version) if version < OLDEST => Err(Error::new(
            ErrorKind::Unsupported,
            format!("it is etcd {}; gosd needs 3.4 or later", status.version()),
        )),
        _ => Ok(client),
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, old) in
            [("2.3.8", true), ("3.3.27", true), ("3.4.0", false), ("3.10.1-rc", false), ("", false)]
        {
            assert_eq!(version(text).is_some_and(|version| version < OLDEST), old, "{text}");
        }
    }
}
