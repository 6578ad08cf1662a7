use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::{Driver, Event, Instance, InstanceId, Result};

/// How many changes a watcher may be behind before it starts again with a `Reset`.
const LOG: usize = 1_024;

/// The in-process driver: the reference implementation of [`Driver`], for tests and examples.
///
/// Clones share one registry, as clients of one database do.
///
/// ```
/// use std::sync::Arc;
/// use gosd_core::{Client, Memory};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let memory = Memory::new();
/// let mail = Client::builder(Arc::new(memory.clone())).register("mail", "http://10.0.0.7:25").start().await?;
/// let user = Client::builder(Arc::new(memory)).start().await?;
/// assert_eq!(user.next("mail").await?.url(), "http://10.0.0.7:25");
/// mail.shutdown().await?;
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
    /// Told of every change of the store, for the watchers.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Store {
    records: BTreeMap<InstanceId, Record>,
    /// The latest changes; the last of them has the number `seq`.
    log: VecDeque<Event>,
    seq: u64,
}

struct Record {
    instance: Instance,
    expires_at: Instant,
}

impl Memory {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything without a word to anybody, as a database that lost its data does.
    pub fn wipe(&self) {
        let mut store = self.lock();
        store.records.clear();
        store.log.clear();
        // Every watcher's position is now out of reach, so each starts again with a `Reset`.
        store.seq += 1;
        drop(store);
        self.shared.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = self.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.purge(Instant::now()) {
            self.shared.changed.send_replace(());
        }
        store
    }

    /// The next event after a position (`None`: from the start), or when to look again at the latest.
    fn event_after(&self, position: Option<u64>) -> Result<(Event, u64), Option<Instant>> {
        let store = self.lock();
        let oldest = store.seq - store.log.len() as u64;
        match position {
            Some(position) if position == store.seq => {
                Err(store.records.values().map(|record| record.expires_at).min())
            }
            Some(position) if position >= oldest => {
                Ok((store.log[(position - oldest) as usize].clone(), position + 1))
            }
            _ => Ok((Event::Reset(store.live()), store.seq)),
        }
    }
}

impl Store {
    fn push(&mut self, event: Event) {
        self.seq += 1;
        self.log.push_back(event);
        if self.log.len() > LOG {
            self.log.pop_front();
        }
    }

    fn purge(&mut self, now: Instant) -> bool {
        let expired =
            |(id, record): (&InstanceId, &Record)| (record.expires_at <= now).then(|| id.clone());
        let dead: Vec<InstanceId> = self.records.iter().filter_map(expired).collect();
        let any = !dead.is_empty();
        for id in dead {
            self.records.remove(&id);
            self.push(Event::Expire(id));
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
        let record = Record { instance: instance.clone(), expires_at: Instant::now() + ttl };
        let mut store = self.lock();
        let before = store.records.insert(instance.id().clone(), record);
        if before.is_none_or(|before| before.instance != *instance) {
            store.push(Event::Put(instance.clone()));
        }
        drop(store);
        // Also for a mere renewal: watchers sleep until the earliest expiry.
        self.shared.changed.send_replace(());
        Ok(())
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let mut store = self.lock();
        if store.records.remove(id).is_some() {
            store.push(Event::Remove(id.clone()));
            drop(store);
            self.shared.changed.send_replace(());
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        Ok(self.lock().live())
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let changed = self.shared.changed.subscribe();
        Some(Box::pin(stream::unfold((None, changed), async move |(position, mut changed)| {
            loop {
                changed.borrow_and_update();
                let wake_at = match self.event_after(position) {
                    Ok((event, position)) => return Some((Ok(event), (Some(position), changed))),
                    Err(wake_at) => wake_at,
                };
                let expiry = async {
                    match wake_at {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    // Cannot fail: `self` holds the sender.
                    _ = changed.changed() => {}
                    () = expiry => {}
                }
            }
        })))
    }

    fn name(&self) -> &str {
        "memory"
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("instances", &self.lock().records.len()).finish()
    }
}
