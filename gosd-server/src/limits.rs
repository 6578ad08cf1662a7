//! The limits of what clients may use, and the counts of what they use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::notice::Notice;
use crate::peer::Peer;
use crate::problem::{Problem, Refusal};
use crate::watching::Watching;

/// What to do about refusals that are no attack.
pub(crate) const REMEDY: &str = "if many clients share an address, as behind a NAT or a proxy, raise the limits: \
    gosd serve --clients-per-address, or Limits::for_clients_of_one_address";

/// How many clients' counts are kept before those that equal a new client's are dropped, at least.
const CLIENTS: usize = 4_096;
/// How many clients one address may have.
const OF_ONE_ADDRESS: u32 = 1_024;

/// The rate and the burst of requests from a client without a valid token.
const WITHOUT_TOKEN: (f64, f64) = (20.0, 200.0);

/// The limits of what a server takes from its clients.
///
/// A client is an IP address (of IPv6, the first 64 bits), or a user on a Unix socket. Behind a proxy all
/// clients are one, and behind a NAT many are: see
/// [`for_clients_of_one_address`](Self::for_clients_of_one_address). Requests that are refused for lack of a token
/// are counted separately: beyond 20 a second from one client, each of them also ends its connection.
///
/// ```
/// use gosd_server::Limits;
///
/// let mut limits = Limits::default().for_clients_of_one_address(5_000);
/// limits.instances = 6_000;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Namespaces that clients may create (64); only with
    /// [`Settings::namespaces`](crate::Settings::namespaces).
    ///
    /// These are namespaces with registrations. As many again may be open for clients that only read. A
    /// namespace without instances and watchers is closed.
    pub namespaces: usize,
    /// Instances of a namespace (20,000). Other programs that write to its database are not limited by it.
    pub instances: usize,
    /// The longest lease (a day); the shortest is 1 s.
    pub lease: Duration,
    /// Bytes of a request's body (64 KiB, which is more than the largest valid body has).
    pub body: usize,
    /// Watchers in all (4,096), and of one client (1,024).
    ///
    /// Each may name up to 512 services. What the names of all take, and those of one client, is bounded by 16 KiB
    /// times its limit of watchers, and a MiB at least. A name takes twice its length and 256 bytes, so that is 50
    /// services for each on average.
    pub watchers: usize,
    /// See [`watchers`](Self::watchers).
    pub watchers_per_client: usize,
    /// Requests per second from one client, on average (1,024).
    pub requests_per_second: u32,
    /// Requests that one client may send at once (4,096).
    pub burst: u32,
    /// Connections in all (8,192), and of one client (4,096), for [`serve`](crate::serve).
    ///
    /// The process's limit of open files lowers both, because some files are left to the database, and a
    /// quarter of the connections to other clients. When there are too many connections, the server closes
    /// the oldest one that has not had a request let in.
    pub connections: usize,
    /// See [`connections`](Self::connections).
    pub connections_per_client: usize,
    /// How long a new connection may take until its first request has arrived (10 s), including the handshake
    /// of TLS. For [`serve`](crate::serve).
    pub first_request: Duration,
    /// How long a client may take to send the head of a request, to send its body, or to read on (30 s). An
    /// idle connection is closed after this time, too. For [`serve`](crate::serve), except for the body.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let per_client = 4 * OF_ONE_ADDRESS as usize;
        Self {
            namespaces: 64,
            instances: 20_000,
            lease: Duration::from_secs(86_400),
            body: 64 * 1_024,
            watchers: per_client,
            watchers_per_client: OF_ONE_ADDRESS as usize,
            requests_per_second: OF_ONE_ADDRESS,
            burst: 4 * OF_ONE_ADDRESS,
            connections: 2 * per_client,
            connections_per_client: per_client,
            first_request: Duration::from_secs(10),
            patience: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Sets the limits of one address to what so many of gosd's clients need that share it, as behind a NAT or a
    /// proxy (1,024), and raises those of all clients if they are less.
    ///
    /// With the default lease, such a client has a watcher, makes a request every two seconds, and for a start
    /// four at once, on up to four connections. Of several servers that stand in for each other, each one has to
    /// be able to serve the clients of one that is away.
    #[must_use]
    pub fn for_clients_of_one_address(mut self, clients: u32) -> Self {
        self.watchers_per_client = clients as usize;
        self.requests_per_second = clients;
        self.burst = clients.saturating_mul(4);
        self.connections_per_client = 4 * clients as usize;
        self.watchers = self.watchers.max(self.watchers_per_client);
        self.connections = self.connections.max((4 * self.connections_per_client).div_ceil(3));
        self
    }
}

/// The kind of a request. Each kind is counted separately, so that no kind uses up another's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From a client that is let in.
    Served,
    /// From a client that is refused.
    Refused,
    /// Without a token, for what needs none: the server's health, and the files of the page.
    Open,
}

/// The counts of what each client uses. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Clients(Arc<Mutex<Counts>>);

struct Counts {
    limits: Limits,
    clients: HashMap<Peer, Client>,
    /// When the map has this many entries, those that equal a new client's are dropped.
    crowd: usize,
    watching: Watching,
    of_requests: Notice,
    of_watchers: Notice,
}

#[derive(Default)]
struct Client {
    /// One bucket for each kind of request.
    buckets: [Bucket; 3],
    watching: Watching,
}

/// A token bucket: each request takes a token, and the bucket fills again with time.
#[derive(Default)]
struct Bucket {
    /// How many tokens are missing, and since when.
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
        let counts = Counts {
            limits,
            clients: HashMap::new(),
            crowd: CLIENTS,
            watching: Watching::default(),
            of_requests: Notice::default(),
            of_watchers: Notice::default(),
        };
        Self(Arc::new(Mutex::new(counts)))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, or refuses it if there were too many of its kind.
    pub(crate) fn request(&self, peer: Peer, kind: Kind) -> Result<(), Problem> {
        let mut counts = self.lock();
        let (per_second, burst) = counts.rate(kind);
        if counts.client(peer).buckets[kind as usize].take(per_second, burst) {
            return Ok(());
        }
        // Those without a token are refused for less, and no limit that could be raised is to blame.
        if kind != Kind::Served {
            let detail = "too many requests without a valid token; send one, or ask less often";
            return Err(Problem::refused(Refusal::RequestsWithoutToken, detail));
        }
        if counts.of_requests.is_due() {
            warn!(?peer, per_second, burst, "too many requests are refused; {REMEDY}");
        }
        Err(too_many(Refusal::Requests, "requests"))
    }

    /// Counts a watcher and the bytes of the names that it asks for, until the slot is dropped.
    pub(crate) fn watcher(&self, peer: Peer, names: usize) -> Result<Slot, Problem> {
        let mut counts = self.lock();
        let (of_client, of_all) = (counts.limits.watchers_per_client, counts.limits.watchers);
        let has_room = counts.watching.has_room(names, of_all)
            && counts.client(peer).watching.has_room(names, of_client);
        if !has_room {
            if counts.of_watchers.is_due() {
                warn!(?peer, of_client, of_all, "too many watchers are refused; {REMEDY}");
            }
            return Err(too_many(Refusal::Watchers, "watchers, or services that they name"));
        }
        counts.client(peer).watching.add(names);
        counts.watching.add(names);
        Ok(Slot { clients: self.clone(), peer, names })
    }

    /// The number of watchers.
    pub(crate) fn watchers(&self) -> usize {
        self.lock().watching.watchers
    }
}

fn too_many(refusal: Refusal, what: &str) -> Problem {
    Problem::refused(refusal, format!("too many {what}; come again later"))
}

/// A watcher's slot, which counts until it is dropped.
pub(crate) struct Slot {
    clients: Clients,
    peer: Peer,
    names: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.clients.lock();
        counts.client(self.peer).watching.remove(self.names);
        counts.watching.remove(self.names);
    }
}

impl Counts {
    /// The rate per second and the burst of one client's requests.
    fn rate(&self, kind: Kind) -> (f64, f64) {
        match kind {
            Kind::Served => (self.limits.requests_per_second.into(), self.limits.burst.into()),
            Kind::Refused | Kind::Open => WITHOUT_TOKEN,
        }
    }

    fn client(&mut self, peer: Peer) -> &mut Client {
        if self.clients.len() >= self.crowd {
            let now = Instant::now();
            // After this time every bucket is full again, so that a dropped one makes no difference.
            let full_after = [Kind::Served, Kind::Refused].map(|kind| {
                let (per_second, burst) = self.rate(kind);
                Duration::from_secs_f64(burst / per_second.max(1.0))
            });
            let full_after = full_after[0].max(full_after[1]);
            self.clients.retain(|_, client| {
                let mut used = client.buckets.iter().filter_map(|bucket| bucket.since);
                client.watching.watchers > 0
                    || used.any(|since| now.duration_since(since) < full_after)
            });
            // A large set of active clients is not searched again at each request.
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

    /// What so many clients of gosd behind one address do in the five minutes after all of them start at once: four
    /// requests each at the start, and then a heartbeat every 5 s and, because they watch, a check every 3.2 to 4 s
    /// that the server still answers. That makes a request every two seconds.
    fn refused_of(clients: u32, limits: Limits) -> impl Future<Output = (usize, usize)> {
        let (counts, address) = (Clients::new(limits), Peer::Address([10, 0, 0, 1].into()));
        async move {
            let watching = (0..clients).map(|_| counts.watcher(address, 0)).collect::<Vec<_>>();
            let mut requests = 0;
            for second in 0..300 {
                let asked = if second == 0 { 4 * clients } else { clients / 2 };
                let refused = (0..asked).filter(|_| counts.request(address, Kind::Served).is_err());
                requests += refused.count();
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            (requests, watching.iter().filter(|slot| slot.is_err()).count())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_clients_of_one_address_as_promised_are_refused_nothing() {
        assert_eq!(refused_of(OF_ONE_ADDRESS, Limits::default()).await, (0, 0));
        let (requests, watchers) = refused_of(5_000, Limits::default()).await;
        assert!(requests > 0 && watchers > 0);
        let raised = Limits::default().for_clients_of_one_address(5_000);
        assert_eq!(refused_of(5_000, raised.clone()).await, (0, 0));
        assert!(raised.connections * 3 / 4 >= raised.connections_per_client);
        let lowered = Limits::default().for_clients_of_one_address(10);
        assert_eq!((lowered.watchers, lowered.watchers_per_client), (4_096, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn refused_requests_use_up_nothing_of_served_ones() {
        let (clients, one, _) = clients(Limits::default());
        let refused = || clients.request(one, Kind::Refused);
        assert!((0..10_000).filter(|_| refused().is_ok()).count() < 300);
        for _ in 0..1_000 {
            assert!(clients.request(one, Kind::Served).is_ok());
        }
        assert!(clients.request(one, Kind::Open).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_clients_are_forgotten_and_watching_ones_are_not() {
        let (clients, one, _) = clients(Limits { burst: 1, ..Limits::default() });
        let slot = clients.watcher(one, 0).unwrap();
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
        let slots = [clients.watcher(one, 0).unwrap(), clients.watcher(one, 0).unwrap()];
        assert!(clients.watcher(one, 0).is_err());
        let last = clients.watcher(other, 0).unwrap();
        assert!(clients.watcher(other, 0).is_err());
        drop(slots);
        assert!(clients.watcher(other, 0).is_ok());
        drop(last);
    }
}
