//! TCP connections to hosts that may have several addresses.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use gosd_core::{Error, ErrorKind};
use tokio::net::{TcpStream, lookup_host};

use crate::race::race;
use crate::tls;

/// How long an attempt is given before the next address is tried beside it, as RFC 8305 advises.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to a host by the first of its addresses that answers.
///
/// A silent address delays the others by a quarter of a second only, and an address that refuses does not
/// delay them at all; IPv6 and IPv4 take turns (RFC 8305). The connection has `TCP_NODELAY`. The caller sets a
/// bound in time. Dropping the future closes connections that are half open.
///
/// # Errors
///
/// The error of the last address if none answers, or the resolver's if there is no address.
/// [`connection_error`] makes it an error of gosd.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = in_turn(lookup_host((host, port)).await?.collect());
    let reached = race(addresses, STAGGER, TcpStream::connect).await;
    let socket = reached.map_err(|failure| failure.unwrap_or_else(no_address))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Makes the failure of a connection an error of gosd: one of TLS if TLS is among its causes, or else
/// [`Unavailable`](gosd_core::ErrorKind::Unavailable).
pub fn connection_error(error: &(dyn StdError + 'static)) -> Error {
    if let Some(error) = tls::error(error) {
        return error;
    }
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    let kind = match root.downcast_ref().is_some_and(is_late) {
        true => ErrorKind::Timeout,
        false => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{root}; is the server running, and the address right?"))
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the host's name has no address")
}

/// The addresses with the two families in turn, beginning with the resolver's preference.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut in_turn = Vec::new();
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return in_turn;
        }
        in_turn.extend(pair.0);
        in_turn.extend(pair.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let expected = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
        assert_eq!(in_turn(given), expected);
        assert_eq!(in_turn(Vec::new()), []);
    }

    #[test]
    fn what_a_failure_means() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, ErrorKind::Unavailable),
            (io::ErrorKind::ConnectionReset, ErrorKind::Unavailable),
            (io::ErrorKind::TimedOut, ErrorKind::Timeout),
        ] {
            let error = connection_error(&io::Error::from(kind));
            assert_eq!(error.kind(), expected, "{error}");
        }
        let expired = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        assert_eq!(connection_error(&io::Error::other(expired)).kind(), ErrorKind::Denied);
    }
}
