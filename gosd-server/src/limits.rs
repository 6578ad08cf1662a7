//! The bounds of what clients may take, and the counts of what they do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::peer::Peer;
use crate::problem::{Problem, Refusal};

/// How many clients' counts are kept, at the least, before those are dropped that say nothing.
const CLIENTS: usize = 4_096;
/// Requests per second, and at once, of a client that shows no valid token.
const WITHOUT_TOKEN: (f64, f64) = (20.0, 200.0);

/// The bounds of what a server takes from its clients.
///
/// A client is an IP address (of IPv6, the first 64 bits), or a user on a Unix socket. Behind a proxy
/// all clients are one, so raise there what is counted by client. What is refused for lack of a token
/// is counted apart, and bounded to 20 requests a second of one client.
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
    ///
    /// These are namespaces with registrations. As many again may be open for those who only read.
    /// One that has no instances and that nobody watches is given back.
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
    /// Connections in all (8,192), and of one client (4,096), for [`serve`](crate::serve).
    ///
    /// The process's limit of open files lowers both: some of it is left to the database, and a
    /// quarter of the connections to other clients. When there are too many, the oldest goes by
    /// which no request was let in yet.
    pub connections: usize,
    /// See [`connections`](Self::connections).
    pub connections_per_client: usize,
    /// How long a new connection may take until its first request is there (10 s), the handshake of
    /// TLS included. For [`serve`](crate::serve).
    pub first_request: Duration,
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
            connections_per_client: 4_096,
            first_request: Duration::from_secs(10),
            patience: Duration::from_secs(30),
        }
    }
}

/// Requests that are counted apart, so that those of one kind use up nothing of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From who is let in.
    Served,
    /// From who is not.
    Refused,
    /// For what takes no token, without one: the server's health, and the files of the page.
    Open,
}

/// Counts what each client does. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Clients(Arc<Mutex<Counts>>);

struct Counts {
    limits: Limits,
    clients: HashMap<Peer, Client>,
    /// When the map has this many entries, those that say nothing are dropped.
    crowd: usize,
    watchers: usize,
}

#[derive(Default)]
struct Client {
    /// By kind.
    buckets: [Bucket; 3],
    watchers: usize,
}

/// Holds a token for each request that may come now, and fills again with time.
#[derive(Default)]
struct Bucket {
    /// How many are lacking, and since when.
    taken: f64,
    since: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, per_second: f64, burst: f64) -> bool {
        let now = Instant::now();
        let elapsed = self.since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
        self.taken = (self.taken - elapsed * per_second).max(0.0);
        self.since = Some(now);
        let is_there = self.taken + 1.0 <= burst;
        if is_there {
            self.taken += 1.0;
        }
        is_there
    }
}

impl Clients {
    pub(crate) fn new(limits: Limits) -> Self {
        let counts = Counts { limits, clients: HashMap::new(), crowd: CLIENTS, watchers: 0 };
        Self(Arc::new(Mutex::new(counts)))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, unless there were too many of its kind.
    pub(crate) fn request(&self, peer: Peer, kind: Kind) -> Result<(), Problem> {
        let mut counts = self.lock();
        let (per_second, burst) = counts.rate(kind);
        match counts.client(peer).buckets[kind as usize].take(per_second, burst) {
            true => Ok(()),
            false => Err(too_many(Refusal::Requests, "requests")),
        }
    }

    /// Counts a watcher, until the slot is dropped.
    pub(crate) fn watcher(&self, peer: Peer) -> Result<Slot, Problem> {
        let mut counts = self.lock();
        let (limits, watchers) = (counts.limits.clone(), counts.watchers);
        let client = counts.client(peer);
        if watchers >= limits.watchers || client.watchers >= limits.watchers_per_client {
            return Err(too_many(Refusal::Watchers, "watchers"));
        }
        client.watchers += 1;
        counts.watchers += 1;
        Ok(Slot { clients: self.clone(), peer })
    }

    /// How many watchers there are.
    pub(crate) fn watchers(&self) -> usize {
        self.lock().watchers
    }
}

fn too_many(refusal: Refusal, what: &str) -> Problem {
    Problem::refused(refusal, format!("too many {what}; come again later"))
}

/// A watcher's place.
pub(crate) struct Slot {
    clients: Clients,
    peer: Peer,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.clients.lock();
        counts.client(self.peer).watchers -= 1;
        counts.watchers -= 1;
    }
}

impl Counts {
    /// Requests of one client per second, and at once.
    fn rate(&self, kind: Kind) -> (f64, f64) {
        match kind {
            Kind::Served => (self.limits.requests_per_second.into(), self.limits.burst.into()),
            Kind::Refused | Kind::Open => WITHOUT_TOKEN,
        }
    }

    fn client(&mut self, peer: Peer) -> &mut Client {
        if self.clients.len() >= self.crowd {
            let now = Instant::now();
            // The time after which every bucket is full again, so that a new one is as good.
            let full_after = [Kind::Served, Kind::Refused].map(|kind| {
                let (per_second, burst) = self.rate(kind);
                Duration::from_secs_f64(burst / per_second.max(1.0))
            });
            let full_after = full_after[0].max(full_after[1]);
            self.clients.retain(|_, client| {
                let mut used = client.buckets.iter().filter_map(|bucket| bucket.since);
                client.watchers > 0 || used.any(|since| now.duration_since(since) < full_after)
            });
            // So that a crowd that stays is not gone through at each request.
            self.crowd = CLIENTS.max(2 * self.clients.len());
        }
        self.clients.entry(peer).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(limits: Limits) -> (Clients, Peer, Peer) {
        let peer = |n| Peer::Address([10, 0, 0, n].into());
        (Clients::new(limits), peer(1), peer(2))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_a_burst_and_then_a_rate() {
        let limits = Limits { burst: 3, requests_per_second: 2, ..Limits::default() };
        let (clients, one, other) = clients(limits);
        let allowed =
            |peer| (0..10).take_while(|_| clients.request(peer, Kind::Served).is_ok()).count();
        assert_eq!(allowed(one), 3);
        assert_eq!(allowed(other), 3);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(allowed(one), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(allowed(one), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_uses_up_nothing_of_who_is_served() {
        let (clients, one, _) = clients(Limits::default());
        let refused = || clients.request(one, Kind::Refused);
        assert!((0..10_000).filter(|_| refused().is_ok()).count() < 300);
        for _ in 0..1_000 {
            assert!(clients.request(one, Kind::Served).is_ok());
        }
        assert!(clients.request(one, Kind::Open).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_are_forgotten_and_those_who_watch_are_not() {
        let (clients, one, _) = clients(Limits { burst: 1, ..Limits::default() });
        let slot = clients.watcher(one).unwrap();
        for n in 0..2 * CLIENTS as u32 {
            tokio::time::advance(Duration::from_millis(10)).await;
            let peer = Peer::Address(std::net::IpAddr::V4(n.into()));
            assert!(clients.request(peer, Kind::Served).is_ok());
        }
        assert!(clients.lock().clients.len() <= CLIENTS);
        drop(slot);
        assert_eq!(clients.watchers(), 0);
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
