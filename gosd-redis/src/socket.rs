//! The diagnosis of a connection that broke without a reason.

use std::time::Duration;

use gosd_core::{Error, ErrorKind};
use gosd_net::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::options::Host;

/// How long a diagnosis may take.
const PROBE: Duration = Duration::from_secs(1);

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
