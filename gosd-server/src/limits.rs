use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;

use crate::problem::Problem;

/// How many clients' buckets are kept, at the least, before those that are full again are dropped.
const CLIENTS: usize = 4_096;

/// The bounds of what a server takes from its clients.
///
/// A client is an IP address (of IPv6, the first 64 bits). Behind a proxy all clients are one, so
/// raise what is counted by client there.
///
/// ```
/// use gosd_server::Limits;
///
/// let mut limits = Limits::default();
/// limits.instances = 1_000;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Namespaces that clients may have made (64); only with
    /// [`Settings::namespaces`](crate::Settings::namespaces).
    pub namespaces: usize,
    /// Instances of a namespace (20,000). Others who write to its database are not held up by it.
    pub instances: usize,
    /// The longest lease (a day); the shortest is 1 s.
    pub lease: Duration,
    /// Bytes of a request's body (64 KiB, more than the largest valid one has).
    pub body: usize,
    /// Watchers in all (4,096), and of one client (1,024).
    pub watchers: usize,
    /// See [`watchers`](Self::watchers).
    pub watchers_per_client: usize,
    /// Requests per second of one client, in the long run (500).
    pub requests_per_second: u32,
    /// Requests of one client at once (2,000).
    pub burst: u32,
    /// Connections in all (8,192), for [`serve`](crate::serve).
    pub connections: usize,
    /// How long a client may take to send the head of a request, then its body, or to read on (30 s).
    /// An idle connection is closed after it, too. For [`serve`](crate::serve), but for the body.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            namespaces: 64,
            instances: 20_000,
            lease: Duration::from_secs(86_400),
            body: 64 * 1_024,
            watchers: 4_096,
            watchers_per_client: 1_024,
            requests_per_second: 500,
            burst: 2_000,
            connections: 8_192,
            patience: Duration::from_secs(30),
        }
    }
}

/// Counts what each client does. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Clients(Arc<Mutex<Counts>>);

struct Counts {
    limits: Limits,
    clients: HashMap<IpAddr, Client>,
    /// At so many clients it is time to forget some.
    crowd: usize,
    watchers: usize,
}

/// A bucket of tokens, one for each request, which fills again with time.
struct Client {
    tokens: f64,
    filled_at: Instant,
    watchers: usize,
}

impl Clients {
    pub(crate) fn new(limits: Limits) -> Self {
        let counts = Counts { limits, clients: HashMap::new(), crowd: CLIENTS, watchers: 0 };
        Self(Arc::new(Mutex::new(counts)))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, unless there were too many.
    pub(crate) fn request(&self, peer: Option<IpAddr>) -> Result<(), Problem> {
        let mut counts = self.lock();
        let client = counts.client(peer);
        if client.tokens < 1.0 {
            return Err(too_many("requests"));
        }
        client.tokens -= 1.0;
        Ok(())
    }

    /// Counts a watcher, until the slot is dropped.
    pub(crate) fn watcher(&self, peer: Option<IpAddr>) -> Result<Slot, Problem> {
        let mut counts = self.lock();
        let (limits, watchers) = (counts.limits.clone(), counts.watchers);
        let client = counts.client(peer);
        if watchers >= limits.watchers || client.watchers >= limits.watchers_per_client {
            return Err(too_many("watchers"));
        }
        client.watchers += 1;
        counts.watchers += 1;
        Ok(Slot { clients: self.clone(), peer })
    }
}

fn too_many(what: &str) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, format!("too many {what}; come again later"))
}

/// A watcher's place.
pub(crate) struct Slot {
    clients: Clients,
    peer: Option<IpAddr>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.clients.lock();
        counts.client(self.peer).watchers -= 1;
        counts.watchers -= 1;
    }
}

impl Counts {
    /// The client's counts, up to date. A client whose address is not known shares one with its like.
    fn client(&mut self, peer: Option<IpAddr>) -> &mut Client {
        let now = Instant::now();
        let burst = f64::from(self.limits.burst);
        let per_second = f64::from(self.limits.requests_per_second);
        let full_after = Duration::from_secs_f64(burst / per_second.max(1.0));
        if self.clients.len() >= self.crowd {
            self.clients.retain(|_, client| {
                client.watchers > 0 || now.duration_since(client.filled_at) < full_after
            });
            // So that a crowd that stays is not gone through at each request.
            self.crowd = CLIENTS.max(2 * self.clients.len());
        }
        let key = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        let new = || Client { tokens: burst, filled_at: now, watchers: 0 };
        let client = self.clients.entry(key).or_insert_with(new);
        let filled = now.duration_since(client.filled_at).as_secs_f64() * per_second;
        client.tokens = (client.tokens + filled).min(burst);
        client.filled_at = now;
        client
    }
}

fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(limits: Limits) -> (Clients, Option<IpAddr>, Option<IpAddr>) {
        (Clients::new(limits), "10.0.0.1".parse().ok(), "10.0.0.2".parse().ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_a_burst_and_then_a_rate() {
        let limits = Limits { burst: 3, requests_per_second: 2, ..Limits::default() };
        let (clients, one, other) = clients(limits);
        let allowed = |peer| (0..10).take_while(|_| clients.request(peer).is_ok()).count();
        assert_eq!(allowed(one), 3);
        assert_eq!(allowed(other), 3);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(allowed(one), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(allowed(one), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_of_one_network_share_and_the_idle_are_forgotten() {
        let (clients, ..) = clients(Limits { burst: 1, ..Limits::default() });
        assert!(clients.request("2001:db8::1".parse().ok()).is_ok());
        assert!(clients.request("2001:db8::2".parse().ok()).is_err());
        let slot = clients.watcher("2001:db8::1".parse().ok()).unwrap();
        for n in 0..2 * CLIENTS as u32 {
            tokio::time::advance(Duration::from_millis(10)).await;
            assert!(clients.request(Some(IpAddr::V4(n.into()))).is_ok());
        }
        assert!(clients.lock().clients.len() <= CLIENTS);
        drop(slot);
        assert_eq!(clients.lock().watchers, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_are_counted_until_they_go() {
        let limits = Limits { watchers: 3, watchers_per_client: 2, ..Limits::default() };
        let (clients, one, other) = clients(limits);
        let slots = [clients.watcher(one).unwrap(), clients.watcher(one).unwrap()];
        assert!(clients.watcher(one).is_err());
        let last = clients.watcher(other).unwrap();
        assert!(clients.watcher(other).is_err());
        drop(slots);
        assert!(clients.watcher(other).is_ok());
        drop(last);
    }
}
