use std::path::Path;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, KvClient, TlsOptions, WatchClient};
use gosd_core::{Error, ErrorKind, Result, TlsFiles};
use tokio::time::timeout;

use crate::error;
use crate::options::Options;

/// How long it may take to connect to one member and to hear its first answer.
const CONNECT: Duration = Duration::from_secs(2);
/// The oldest version whose watches answer when they are asked whether they are alive.
const OLDEST: (u32, u32) = (3, 4);
/// As much as gRPC can carry: the whole registry is one reply.
const LARGEST_REPLY: usize = i32::MAX as usize;

/// Connects to one of the members, asking each of them once at most.
///
/// What the members answer without a leader is an error, so a member that is cut off from the
/// others is passed over.
pub(crate) async fn open(options: &Options) -> Result<Client> {
    let mut hosts: Vec<&String> = options.hosts.iter().collect();
    // So that clients spread, and a member that does not answer holds up only some attempts.
    fastrand::shuffle(&mut hosts);
    let mut failures: Vec<(&String, Error)> = Vec::new();
    for host in hosts {
        let dialed = timeout(CONNECT, dial(host, options)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("no answer within {CONNECT:?}")))
        });
        match dialed {
            Ok(client) => return Ok(client),
            Err(failure) => failures.push((host, failure)),
        }
    }
    // A refusal tells more than silence.
    let worst = failures.iter().find(|(_, failure)| !failure.is_retryable());
    let kind = worst.or(failures.first()).map_or(ErrorKind::Config, |(_, failure)| failure.kind());
    let all: Vec<String> =
        failures.iter().map(|(host, failure)| format!("{host}: {failure}")).collect();
    Err(Error::new(kind, all.join("; ")))
}

/// Reads of the registry are larger than what the client library takes unless it is told.
pub(crate) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(LARGEST_REPLY)
}

/// The same for the changes.
pub(crate) fn watch(client: &Client) -> WatchClient {
    client.watch_client().max_decoding_message_size(LARGEST_REPLY)
}

async fn dial(host: &str, options: &Options) -> Result<Client> {
    let mut connect = ConnectOptions::new().with_require_leader(true);
    if let Some((user, password)) = &options.credentials {
        connect = connect.with_user(user, password);
    }
    let mut scheme = "http";
    if let Some(files) = &options.tls {
        scheme = "https";
        connect = connect.with_tls(tls(files).await?);
    }
    let fail = |error| error::from_etcd(&error, options);
    let mut client =
        Client::connect([format!("{scheme}://{host}")], Some(connect)).await.map_err(fail)?;
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

/// Reads the files anew for each connection, so that renewed certificates count.
async fn tls(files: &TlsFiles) -> Result<TlsOptions> {
    let mut tls = TlsOptions::new();
    tls = match &files.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca).await?)),
        None => tls.with_native_roots(),
    };
    if let Some((cert, key)) = &files.identity {
        tls = tls.identity(Identity::from_pem(read(cert).await?, read(key).await?));
    }
    Ok(tls)
}

async fn read(file: &Path) -> Result<Vec<u8>> {
    tokio::fs::read(file)
        .await
        .map_err(|error| Error::new(ErrorKind::Config, format!("{}: {error}", file.display())))
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
