//! Drivers whose watches break the order, the snapshot or the contact, against clauses 7 to 9.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::ready;
use futures_util::stream;
use futures_util::{FutureExt, StreamExt};
use gosd_core::{Error, ErrorKind, Event, Instance, InstanceId, Result, async_trait};
use tokio::sync::broadcast;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::{Items, Mutant, Sound, items};

/// Yields changes, but no snapshot.
#[derive(Default)]
pub(crate) struct NoSnapshot;

impl Mutant for NoSnapshot {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        items(sound).skip(1).boxed()
    }
}

/// Lists, and subscribes to changes a moment later.
#[derive(Default)]
pub(crate) struct SubscribesLate;

impl Mutant for SubscribesLate {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let snapshot = async move {
            let list = sound.list().await;
            for _ in 0..3 {
                yield_now().await;
            }
            let mut items = items(sound);
            let _ = items.next().await;
            stream::iter([list.map(Event::Reset)]).chain(items)
        };
        snapshot.flatten_stream().boxed()
    }
}

/// Receives a batch of events, and yields the first.
#[derive(Default)]
pub(crate) struct FirstOfABatch;

impl Mutant for FirstOfABatch {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let batches = items(sound).ready_chunks(1_024);
        batches.map(|batch| batch.into_iter().next().expect("a batch holds something")).boxed()
    }
}

/// Notices that it fell behind, and goes on as if no event had been lost.
#[derive(Default)]
pub(crate) struct IgnoresOverflow;

impl Mutant for IgnoresOverflow {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let mut first = true;
        let keep = move |item: &Result<Event>| {
            let again = matches!(item, Ok(Event::Reset(_))) && !std::mem::take(&mut first);
            ready(!again)
        };
        items(sound).filter(keep).boxed()
    }
}

/// Yields new instances, but not changed ones.
#[derive(Default)]
pub(crate) struct NoUpdates;

impl Mutant for NoUpdates {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let mut known: HashSet<InstanceId> = HashSet::new();
        let keep = move |item: &Result<Event>| {
            if let Ok(Event::Remove(id) | Event::Expire(id)) = item {
                known.remove(id);
            }
            ready(match item {
                Ok(Event::Put(instance)) => known.insert(instance.id().clone()),
                _ => true,
            })
        };
        items(sound).filter(keep).boxed()
    }
}

/// Removes expired instances only when a client lists.
#[derive(Default)]
pub(crate) struct SilentExpiry;

impl Mutant for SilentExpiry {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        items(sound).filter(|item| ready(!matches!(item, Ok(Event::Expire(_))))).boxed()
    }
}

#[derive(Default)]
pub(crate) struct ExpiryIsAGoodbye;

impl Mutant for ExpiryIsAGoodbye {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let all = items(sound).map(|item| match item {
            Ok(Event::Expire(id)) => Ok(Event::Remove(id)),
            other => other,
        });
        all.boxed()
    }
}

/// Computes expiry in the watch from the first registration, because watchers are not notified of renewals.
#[derive(Default)]
pub(crate) struct OverlooksRenewals(Mutex<HashMap<InstanceId, Instant>>);

#[async_trait]
impl Mutant for OverlooksRenewals {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let end = Instant::now() + ttl;
        self.0.lock().unwrap().entry(instance.id().clone()).or_insert(end);
        sound.register(instance, ttl).await
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let expiries = stream::unfold((), async |()| {
            loop {
                sleep(Duration::from_millis(10)).await;
                let mut leases = self.0.lock().unwrap();
                let over = leases.iter().find(|(_, end)| **end <= Instant::now());
                if let Some(id) = over.map(|(id, _)| id.clone()) {
                    leases.remove(&id);
                    return Some((Ok(Event::Expire(id)), ()));
                }
            }
        });
        stream::select(items(sound), expiries).boxed()
    }
}

/// Reconnects by itself, and yields no `Err`.
#[derive(Default)]
pub(crate) struct SwallowsLoss;

impl Mutant for SwallowsLoss {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let all = items(sound).filter_map(async |item| match item {
            Ok(Event::Resumed) => None,
            Ok(event) => Some(Ok(event)),
            Err(_) => {
                sleep(Duration::from_millis(100)).await;
                None
            }
        });
        all.boxed()
    }
}

#[derive(Default)]
pub(crate) struct LossIsAnEmptyReset;

impl Mutant for LossIsAnEmptyReset {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let all = items(sound).then(async |item| match item {
            Err(_) => {
                sleep(Duration::from_millis(100)).await;
                Ok(Event::Reset(Vec::new()))
            }
            Ok(event) => Ok(event),
        });
        all.boxed()
    }
}

/// Subscribes again after a loss, and claims that nothing was missed.
#[derive(Default)]
pub(crate) struct ResumesWithAGap;

impl Mutant for ResumesWithAGap {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let items = stream::unfold(items(sound), async |mut items| {
            let item = items.next().await?;
            if matches!(item, Ok(Event::Resumed)) {
                while let Some(Some(_)) = items.next().now_or_never() {}
            }
            Some((item, items))
        });
        items.boxed()
    }
}

/// Yields one `Err` when contact is lost, and nothing after that.
#[derive(Default)]
pub(crate) struct NeverResumes;

impl Mutant for NeverResumes {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let items = stream::unfold((items(sound), false), async |(mut items, lost)| {
            if lost {
                std::future::pending::<()>().await;
            }
            let item = items.next().await?;
            let lost = item.is_err();
            Some((item, (items, lost)))
        });
        items.boxed()
    }
}

#[derive(Default)]
pub(crate) struct EndsAtOnce;

impl Mutant for EndsAtOnce {
    fn watch<'a>(&'a self, _: &'a Sound) -> Items<'a> {
        stream::empty().boxed()
    }
}

/// Has 1,000 connections, and never releases the one of a watch.
#[derive(Default)]
pub(crate) struct LeaksWatches(AtomicUsize);

impl Mutant for LeaksWatches {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        if self.0.fetch_add(1, Ordering::SeqCst) < 1_000 {
            return items(sound);
        }
        let full = || Err(Error::new(ErrorKind::Unavailable, "too many connections"));
        stream::repeat_with(full).boxed()
    }
}

/// Writes first, and notifies the watchers in a second step.
pub(crate) struct AnnouncesSeparately(broadcast::Sender<Event>);

impl Default for AnnouncesSeparately {
    fn default() -> Self {
        Self(broadcast::channel(4_096).0)
    }
}

#[async_trait]
impl Mutant for AnnouncesSeparately {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, ttl).await?;
        yield_now().await;
        let _ = self.0.send(Event::Put(instance.clone()));
        Ok(())
    }

    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        sound.deregister(id).await?;
        yield_now().await;
        let _ = self.0.send(Event::Remove(id.clone()));
        Ok(())
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let told = stream::unfold(self.0.subscribe(), async |mut told| {
            let event = told.recv().await.ok()?;
            Some((Ok(event), told))
        });
        let other =
            |item: &Result<Event>| ready(!matches!(item, Ok(Event::Put(_) | Event::Remove(_))));
        stream::select(items(sound).filter(other), told).boxed()
    }
}
