//! Sockets to Redis, plain or with TLS, and the diagnosis of a connection that broke without a reason.

use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result};
use gosd_net::{Tls, connection_error};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::options::Host;

/// How long a diagnosis may take.
const PROBE: Duration = Duration::from_secs(1);

/// A plain or an encrypted connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Connects to a server, with TLS if there is a configuration for it.
pub(crate) async fn open((host, port): &Host, tls: Option<&Tls>) -> Result<Box<dyn Socket>> {
    Ok(match tls {
        None => {
            let socket = gosd_net::connect(host, *port).await;
            Box::new(socket.map_err(|error| connection_error(&error))?)
        }
        Some(tls) => Box::new(tls.connect(host, *port).await?),
    })
}

/// Finds out whether TLS is the cause of a failed connection.
///
/// A client with the wrong protocol sees only that the connection breaks or is silent, and a client whose
/// certificate is refused learns of it only when it reads.
pub(crate) async fn diagnose(host: &Host, tls: Option<&Tls>) -> Option<Error> {
    let config = |problem| Some(Error::new(ErrorKind::Config, problem));
    match tls {
        None if gosd_net::tls::is_spoken_by(&host.0, host.1).await => {
            config("the server speaks TLS; the scheme of its URL begins with rediss")
        }
        None => None,
        Some(_) if speaks_plain(host).await => {
            config("the server does not speak TLS; the scheme of its URL begins with redis")
        }
        Some(tls) => tls.refusal(&host.0, host.1).await,
    }
}

/// Every answer of Redis to a `PING` begins like this.
async fn speaks_plain((host, port): &Host) -> bool {
    let answer = async {
        let mut socket = gosd_net::connect(host, *port).await?;
        socket.write_all(b"PING\r\n").await?;
        socket.read_u8().await
    };
    matches!(timeout(PROBE, answer).await, Ok(Ok(b'+' | b'-')))
}
