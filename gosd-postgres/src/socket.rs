//! Sockets to PostgreSQL, plain or with TLS, and the diagnosis of a connection that broke without a reason.

use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result};
use gosd_net::{Socket, Tls, connection_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::options::Host;

/// How long a diagnosis may take.
const PROBE: Duration = Duration::from_secs(1);
/// The request for TLS, the first message of a connection: its length, and a number that identifies it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Connects to a server, with TLS if there is a configuration for it.
///
/// To the client library the result looks like a plain connection, so the library does not bind a password to
/// the TLS channel. The certificate is checked here, by the rules of all drivers.
pub(crate) async fn open((host, port): &Host, tls: Option<&Tls>) -> Result<Box<dyn Socket>> {
    let broken = |error: std::io::Error| connection_error(&error);
    let Some(tls) = tls else {
        return Ok(Box::new(gosd_net::connect(host, *port).await.map_err(broken)?));
    };
    let config = tls.config().await?;
    let name = ServerName::try_from(host.clone()).map_err(|error| {
        let message = format!("no certificate can be for the host {host:?}");
        Error::new(ErrorKind::Config, message).caused_by(error)
    })?;
    let mut socket = gosd_net::connect(host, *port).await.map_err(broken)?;
    socket.write_all(&SSL_REQUEST).await.map_err(broken)?;
    // Only this one byte is read. Whatever else has arrived is left to the handshake, which does not trust
    // it.
    match socket.read_u8().await.map_err(broken)? {
        b'S' => {}
        b'N' => {
            let message = "the server does not speak TLS: switch it on there (ssl = on), or add \
                           sslmode=disable to the URL";
            return Err(Error::new(ErrorKind::Config, message));
        }
        b'E' => {
            let message = "the server took no connection; is it at its limit?";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        _ => {
            let message = "that is no PostgreSQL server; see the URL's host and port";
            return Err(Error::new(ErrorKind::Config, message));
        }
    }
    Ok(Box::new(TlsConnector::from(config).connect(name, socket).await.map_err(broken)?))
}

/// Finds out whether a connection broke because the server refuses the client's certificate.
///
/// The server refuses only after the handshake is complete for the client, and data that the client has sent
/// meanwhile can make the refusal get lost. So this sends nothing, and waits a moment for the refusal.
pub(crate) async fn refusal(host: &Host, tls: Option<&Tls>) -> Option<Error> {
    let tls = Some(tls?);
    let verdict = async {
        let mut socket = match open(host, tls).await {
            Ok(socket) => socket,
            Err(error) => return Some(error),
        };
        gosd_net::tls::error(&socket.read_u8().await.err()?)
    };
    let verdict = timeout(PROBE, verdict).await.ok().flatten();
    verdict.filter(|error| !error.is_retryable())
}
