//! TCP connections to hosts that may have several addresses.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use gosd_core::{Error, ErrorKind};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;

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
    let addresses = lookup_host((host, port)).await?.collect();
    let socket = race(addresses, TcpStream::connect).await?;
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

/// Tries each address a little after the one before, or as soon as that has failed; the first to
/// succeed counts.
async fn race<T, F>(addresses: Vec<SocketAddr>, try_one: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = VecDeque::from(in_turn(addresses));
    let mut trying = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
    loop {
        trying.extend(waiting.pop_front().map(&try_one));
        let ended = async {
            match trying.next().await {
                Some(ended) => ended.map_err(Some),
                None => Err(None),
            }
        };
        let is_last = waiting.is_empty();
        let ended = tokio::select! {
            ended = ended => ended,
            () = sleep(STAGGER), if !is_last => continue,
        };
        match ended {
            Ok(connected) => return Ok(connected),
            Err(Some(error)) => failure = error,
            Err(None) => return Err(failure),
        }
    }
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
    use std::future::pending;

    use tokio::time::{Instant, timeout};

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

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_holds_the_next_up_for_a_moment_only() {
        let all = addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
        let (begun, good) = (Instant::now(), all[2]);
        let reached = race(all, async |address| {
            if address != good {
                pending::<()>().await;
            }
            Ok(address)
        });
        assert_eq!(reached.await.unwrap(), good);
        assert_eq!(begun.elapsed(), 2 * STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_waited_for_and_a_late_answer_counts() {
        let all = addresses(&["10.0.0.1:1", "10.0.0.2:1"]);
        let (begun, first) = (Instant::now(), all[0]);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let reached = race(all.clone(), async |address| match address == first {
            true => Err(refused()),
            false => Ok(address),
        });
        assert_eq!(reached.await.unwrap(), all[1]);
        assert_eq!(begun.elapsed(), Duration::ZERO);

        // The first is slow, and the second, begun meanwhile, fails.
        let late = race(all.clone(), async |address| {
            if address != first {
                return Err(refused());
            }
            sleep(3 * STAGGER).await;
            Ok(address)
        });
        assert_eq!(late.await.unwrap(), first);

        let none = race(all, async |_| Err::<(), _>(refused())).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_it_waits_for_its_caller() {
        let attempt = race(addresses(&["10.0.0.1:1"]), async |_| pending::<io::Result<()>>().await);
        assert!(timeout(Duration::from_secs(60), attempt).await.is_err());
        let nothing = race(Vec::new(), async |_| Ok(())).await.unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
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
