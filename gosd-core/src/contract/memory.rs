//! The in-process driver, the reference implementation of the contract.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Driver, Error, ErrorKind, Event, Instance, InstanceId, Result};

/// How many changes a watcher may be behind before it starts again with a `Reset`.
const LOG: usize = 1_024;

/// The in-process driver: the reference implementation of [`Driver`], for tests and examples.
///
/// Clones share one registry, as clients of one database do.
///
/// ```
/// use std::time::Duration;
/// use gosd_core::{Driver, Instance, Memory};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let (one, other) = { let memory = Memory::new(); (memory.clone(), memory) };
/// let mail = Instance::new("mail", "http://10.0.0.7:25")?;
/// one.register(&mail, Duration::from_secs(15)).await?;
/// assert_eq!(other.list().await?, [mail]);
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    store: Mutex<Store>,
    /// Wakes the watchers after every change of the store.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Store {
    records: BTreeMap<InstanceId, Record>,
    /// The latest changes; the last of them has the number `seq`.
    log: VecDeque<Change>,
    seq: u64,
    refuses_writes: bool,
}

struct Record {
    instance: Instance,
    ttl: Duration,
    expires_at: Instant,
}

/// A change, and the services that it concerns: two, if an instance moved from one to another.
struct Change {
    event: Event,
    services: [String; 2],
}

/// The position of one watcher.
#[derive(Clone, Copy, Default)]
struct Position {
    /// The number of the last change that the watcher has seen; `None` before its snapshot.
    seq: Option<u64>,
    /// Whether its last item was an `Err`.
    lost: bool,
}

impl Memory {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops all records and the log, as a database that lost its data does. Watchers get a `Reset`.
    pub fn wipe(&self) {
        let mut store = self.lock();
        store.records.clear();
        store.log.clear();
        // Every watcher's position is now out of reach, so each starts again with a `Reset`.
        store.seq += 1;
        drop(store);
        self.shared.changed.send_replace(());
    }

    /// Refuses writes from now on, as a database with a full disk does, or accepts them again.
    ///
    /// While writes are refused nothing expires, and every method fails as
    /// [`Unavailable`](ErrorKind::Unavailable), as clause 15 of [`Driver`] demands. When writes are accepted
    /// again, every instance has at least half a lease in which to renew.
    pub fn refuse_writes(&self, refuse: bool) {
        let mut store = self.lock();
        if store.refuses_writes && !refuse {
            let now = Instant::now();
            for record in store.records.values_mut() {
                record.expires_at = record.expires_at.max(now + record.ttl / 2);
            }
        }
        store.refuses_writes = refuse;
        drop(store);
        self.shared.changed.send_replace(());
    }

    fn writable(&self) -> Result<MutexGuard<'_, Store>> {
        let store = self.lock();
        match store.refuses_writes {
            false => Ok(store),
            true => Err(Error::new(ErrorKind::Unavailable, "the registry takes no writes now")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = self.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.purge(Instant::now()) {
            self.shared.changed.send_replace(());
        }
        store
    }

    /// The next item after a position for a watcher of these services, or of all, or the latest time to look
    /// again.
    fn item_after(
        &self,
        mut at: Position,
        services: Option<&BTreeSet<String>>,
    ) -> std::result::Result<(Result<Event>, Position), Option<Instant>> {
        let store = match self.writable() {
            Ok(store) => store,
            Err(error) => return Ok((Err(error), Position { lost: true, ..at })),
        };
        let is_asked = |service: &str| services.is_none_or(|services| services.contains(service));
        let oldest = store.seq - store.log.len() as u64;
        if let Some(seq) = at.seq.as_mut().filter(|seq| **seq >= oldest) {
            let missed = store.log.range((*seq - oldest) as usize..);
            let others = missed.take_while(|it| !it.services.iter().any(|it| is_asked(it)));
            *seq += others.count() as u64;
        }
        let (event, seq) = match at.seq {
            Some(seq) if seq >= oldest && at.lost => (Event::Resumed, seq),
            Some(seq) if seq == store.seq => {
                return Err(store.records.values().map(|record| record.expires_at).min());
            }
            Some(seq) if seq >= oldest => {
                (store.log[(seq - oldest) as usize].event.clone(), seq + 1)
            }
            _ => {
                let mut all = store.live();
                all.retain(|instance| is_asked(instance.service()));
                (Event::Reset(all), store.seq)
            }
        };
        Ok((Ok(event), Position { seq: Some(seq), lost: false }))
    }
}

impl Store {
    /// Appends a change of these instances, or of this one.
    fn push(&mut self, event: Event, before: &Instance, now: &Instance) {
        self.seq += 1;
        let services = [before, now].map(|instance| instance.service().to_owned());
        self.log.push_back(Change { event, services });
        if self.log.len() > LOG {
            self.log.pop_front();
        }
    }

    fn purge(&mut self, now: Instant) -> bool {
        if self.refuses_writes {
            return false;
        }
        let expired =
            |(id, record): (&InstanceId, &Record)| (record.expires_at <= now).then(|| id.clone());
        let dead: Vec<InstanceId> = self.records.iter().filter_map(expired).collect();
        let any = !dead.is_empty();
        for id in dead {
            if let Some(Record { instance, .. }) = self.records.remove(&id) {
                self.push(Event::Expire(id), &instance, &instance);
            }
        }
        any
    }

    fn live(&self) -> Vec<Instance> {
        self.records.values().map(|record| record.instance.clone()).collect()
    }
}

#[async_trait]
impl Driver for Memory {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let mut store = self.writable()?;
        let record = Record { instance: instance.clone(), ttl, expires_at: Instant::now() + ttl };
        let before = store.records.insert(instance.id().clone(), record);
        let before = before.map(|before| before.instance);
        if before.as_ref() != Some(instance) {
            let put = Event::Put(instance.clone());
            store.push(put, before.as_ref().unwrap_or(instance), instance);
        }
        drop(store);
        // Even a renewal wakes the watchers, because they sleep until the earliest expiry.
        self.shared.changed.send_replace(());
        Ok(())
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let mut store = self.writable()?;
        if let Some(Record { instance, .. }) = store.records.remove(id) {
            store.push(Event::Remove(id.clone()), &instance, &instance);
            drop(store);
            self.shared.changed.send_replace(());
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        Ok(self.writable()?.live())
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(self.events(None))
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        Some(self.events(Some(services.clone())))
    }

    fn name(&self) -> &str {
        "memory"
    }
}

impl Memory {
    /// A watch of these services, or of all.
    fn events(&self, services: Option<BTreeSet<String>>) -> BoxStream<'_, Result<Event>> {
        let start = (Position::default(), self.shared.changed.subscribe(), services);
        Box::pin(stream::unfold(start, async move |(at, mut changed, services)| {
            loop {
                changed.borrow_and_update();
                let wake_at = match self.item_after(at, services.as_ref()) {
                    Ok((item, at)) => return Some((item, (at, changed, services))),
                    Err(wake_at) => wake_at,
                };
                // Neither can fail: `self` holds the sender, and the end of the time is the moment to look
                // again.
                match wake_at {
                    Some(at) => drop(timeout_at(at, changed.changed()).await),
                    None => drop(changed.changed().await),
                }
            }
        }))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("instances", &self.lock().records.len()).finish()
    }
}
