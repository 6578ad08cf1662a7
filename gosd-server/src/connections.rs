//! The places of connections: how many there may be, and which connection is closed when there are too many.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::warn;

use crate::limits::{Limits, REMEDY};
use crate::notice::Notice;
use crate::peer::Peer;

/// How many of the process's open files are reserved for the database and everything else, at most.
const RESERVED: usize = 128;

/// All connections of a server. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    most: usize,
    most_per_client: usize,
    table: Mutex<Table>,
    /// Notified when a place becomes free.
    freed: Notify,
}

#[derive(Default)]
struct Table {
    /// All connections, in the order in which they came.
    all: BTreeMap<u64, (Peer, Arc<Status>)>,
    of_client: HashMap<Peer, usize>,
    next: u64,
    refused: u64,
    evicted: u64,
    of_refusals: Notice,
}

/// How many connections are open, may be open, and were closed or refused.
pub(crate) struct Counts {
    pub(crate) open: usize,
    pub(crate) most: usize,
    pub(crate) refused: u64,
    pub(crate) evicted: u64,
}

/// The state of a connection, which its requests carry as an extension.
#[derive(Default)]
pub(crate) struct Status {
    has_asked: AtomicBool,
    is_proven: AtomicBool,
    /// How many look at present whether the other side has closed the connection.
    probes: AtomicUsize,
    evicted: Notify,
}

/// While this is held, the connection is read whether or not the runtime says that there is something to read.
pub(crate) struct Probe<'a>(&'a Status);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.probes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Status {
    /// Records that a whole request has come.
    pub(crate) fn asked(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Records that a request was let in.
    pub(crate) fn proved(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// Makes the next reads look at the socket itself.
    pub(crate) fn probe(&self) -> Probe<'_> {
        self.probes.fetch_add(1, Ordering::Relaxed);
        Probe(self)
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.probes.load(Ordering::Relaxed) > 0
    }

    fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }
}

impl Connections {
    pub(crate) fn new(limits: &Limits) -> Self {
        let most = match open_files() {
            Some(files) => {
                let most = files.saturating_sub(RESERVED.min(files / 4));
                if most < limits.connections {
                    warn!(
                        open_files = files,
                        connections = most,
                        "the limit of open files bounds the connections; raise it (ulimit -n)"
                    );
                }
                most.min(limits.connections)
            }
            None => limits.connections,
        };
        // A single client never gets all places.
        let most_per_client = limits.connections_per_client.min((most * 3 / 4).max(1));
        Self::bounded(most, most_per_client)
    }

    fn bounded(most: usize, most_per_client: usize) -> Self {
        let (table, freed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { most, most_per_client, table, freed }))
    }

    /// Waits while all places are taken by connections that may not be closed for another.
    async fn room(&self) {
        loop {
            let freed = self.0.freed.notified();
            if self.table().has_room(self.0.most) {
                return;
            }
            freed.await;
        }
    }

    /// Takes a place for a connection, and closes another one for it if necessary. Waits while no place can
    /// be had.
    ///
    /// `None` if the client has as many connections as it may. Cancel-safe.
    pub(crate) async fn enter(&self, peer: Peer) -> Option<Place> {
        loop {
            self.room().await;
            // The room may be gone again, if a connection has had a request let in since.
            match self.try_enter(peer) {
                Err(Full::ForAll) => {}
                Ok(place) => return Some(place),
                Err(Full::ForClient) => {
                    let mut table = self.table();
                    table.refused += 1;
                    if table.of_refusals.is_due() {
                        let of_client = self.0.most_per_client;
                        warn!(?peer, of_client, "too many connections are refused; {REMEDY}");
                    }
                    return None;
                }
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let table = self.table();
        Counts {
            open: table.all.len(),
            most: self.0.most,
            refused: table.refused,
            evicted: table.evicted,
        }
    }

    fn try_enter(&self, peer: Peer) -> Result<Place, Full> {
        let mut table = self.table();
        let of_client = table.of_client.get(&peer).copied().unwrap_or_default();
        if !table.has_room(self.0.most) {
            return Err(Full::ForAll);
        } else if of_client >= self.0.most_per_client {
            table.evict(|other| other == peer).ok_or(Full::ForClient)?;
        } else if table.all.len() >= self.0.most {
            table.evict(|_| true).ok_or(Full::ForAll)?;
        }
        let (number, status) = (table.next, Arc::<Status>::default());
        table.next += 1;
        table.all.insert(number, (peer, Arc::clone(&status)));
        *table.of_client.entry(peer).or_default() += 1;
        Ok(Place { connections: self.clone(), number, status })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
enum Full {
    ForAll,
    ForClient,
}

impl Table {
    fn has_room(&self, most: usize) -> bool {
        self.all.len() < most || self.all.values().any(|(_, status)| !status.is_proven())
    }

    /// Closes the oldest connection, among those of the given clients, that has had no request let in.
    fn evict(&mut self, is_of: impl Fn(Peer) -> bool) -> Option<()> {
        let mut unproven =
            self.all.iter().filter(|(_, (peer, status))| is_of(*peer) && !status.is_proven());
        let number = unproven.next().map(|(number, _)| *number)?;
        let status = self.remove(number)?;
        self.evicted += 1;
        status.evicted.notify_one();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Status>> {
        let (peer, status) = self.all.remove(&number)?;
        if let Entry::Occupied(mut count) = self.of_client.entry(peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(status)
    }
}

/// The place of a connection, which is free again when this is dropped.
pub(crate) struct Place {
    connections: Connections,
    number: u64,
    pub(crate) status: Arc<Status>,
}

impl Place {
    /// Waits until the connection has to be closed: for another one, or because no request came in this time.
    pub(crate) async fn is_over(&self, patience: Duration) {
        let silent = async {
            sleep(patience).await;
            if self.status.has_asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.status.evicted.notified() => {}
            () = silent => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Unless the place was given to another connection.
        if self.connections.table().remove(self.number).is_some() {
            self.connections.0.freed.notify_one();
        }
    }
}

/// How many files this process may open, where the system tells.
fn open_files() -> Option<usize> {
    #[cfg(unix)]
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let most: Option<u64> = None;
    most.and_then(|most| usize::try_from(most).ok())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn peer(n: u8) -> Peer {
        Peer::Address([10, 0, 0, n].into())
    }

    fn is_evicted(place: &Place) -> bool {
        place.status.evicted.notified().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_oldest_connection_without_an_admitted_request_is_closed() {
        let connections = Connections::bounded(3, 2);
        let enter = |n| connections.try_enter(peer(n));
        let [a, b] = [enter(1).unwrap(), enter(1).unwrap()];
        a.status.proved();
        // A third connection of the same client takes the place of its second one.
        let c = enter(1).unwrap();
        assert!(is_evicted(&b) && !is_evicted(&a));
        c.status.proved();
        assert_eq!(enter(1).err(), Some(Full::ForClient));
        let [d, e] = [enter(2).unwrap(), enter(3).unwrap()];
        assert!(is_evicted(&d), "there are three in all");
        drop((b, d));
        assert_eq!(connections.table().all.len(), 3);
        assert!(connections.room().now_or_never().is_some());
        e.status.proved();
        assert_eq!(enter(4).err(), Some(Full::ForAll));
        let mut waiting = Box::pin(connections.enter(peer(4)));
        assert!((&mut waiting).now_or_never().is_none());
        drop(a);
        drop(waiting.await);
        assert_eq!(connections.table().of_client[&peer(1)], 1);
        drop((c, e));
        assert_eq!(connections.table().of_client.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed() {
        let connections = Connections::bounded(3, 3);
        let [silent, asking] =
            [connections.enter(peer(1)).await.unwrap(), connections.enter(peer(1)).await.unwrap()];
        asking.status.asked();
        let patience = Duration::from_secs(10);
        let asks_on = tokio::time::timeout(Duration::from_secs(3_600), asking.is_over(patience));
        let ((), asks_on) = tokio::join!(silent.is_over(patience), asks_on);
        assert!(asks_on.is_err());
    }
}
