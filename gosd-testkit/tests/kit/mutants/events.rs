//! Drivers whose watches lose or misorder events, against clauses 7 and 8.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream;
use gosd_core::{Event, Instance, InstanceId, Result, async_trait};

use super::leases::Leases;
use super::{Items, Mutant, Sound, items};

/// Keeps one queue for all watchers, so each event reaches only one of them.
#[derive(Default)]
pub(crate) struct OneWatcherGetsIt(AtomicUsize);

impl Mutant for OneWatcherGetsIt {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let mine = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let keep = move |item: &Result<Event>| {
            let is_newest = self.0.load(Ordering::SeqCst) == mine;
            ready(is_newest || matches!(item, Err(_) | Ok(Event::Reset(_) | Event::Resumed)))
        };
        items(sound).filter(keep).boxed()
    }
}

/// Puts one page into a later `Reset`, and yields the rest as `Put`s.
#[derive(Default)]
pub(crate) struct ResetsInPieces;

impl Mutant for ResetsInPieces {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let mut is_first = true;
        let cut = move |item| {
            let mut pieces = Vec::new();
            match item {
                Ok(Event::Reset(mut all)) if !std::mem::take(&mut is_first) => {
                    let rest = all.split_off(all.len() / 2);
                    pieces.push(Ok(Event::Reset(all)));
                    pieces.extend(rest.into_iter().map(|instance| Ok(Event::Put(instance))));
                }
                other => pieces.push(other),
            }
            stream::iter(pieces)
        };
        items(sound).flat_map(cut).boxed()
    }
}

/// Yields the available events sorted by kind, and not in their order.
fn by_kind(sound: &Sound, comes_first: fn(&Event) -> bool) -> Items<'_> {
    let batches = items(sound).ready_chunks(1_024).map(move |mut batch| {
        batch.sort_by_key(|item| match item {
            Err(_) | Ok(Event::Reset(_) | Event::Resumed) => 0,
            Ok(event) if comes_first(event) => 1,
            Ok(_) => 2,
        });
        stream::iter(batch)
    });
    batches.flatten().boxed()
}

#[derive(Default)]
pub(crate) struct PutsLast;

impl Mutant for PutsLast {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        by_kind(sound, |event| !matches!(event, Event::Put(_)))
    }
}

#[derive(Default)]
pub(crate) struct RemovesLast;

impl Mutant for RemovesLast {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        by_kind(sound, |event| matches!(event, Event::Put(_)))
    }
}

/// Finds several expired instances, and reports the first.
#[derive(Default)]
pub(crate) struct ExpiresOneOfMany;

impl Mutant for ExpiresOneOfMany {
    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let batches = items(sound).ready_chunks(1_024).map(|mut batch| {
            let mut has_expired = false;
            batch.retain(|item| {
                !matches!(item, Ok(Event::Expire(_))) || !std::mem::replace(&mut has_expired, true)
            });
            stream::iter(batch)
        });
        batches.flatten().boxed()
    }
}

/// Removes expired instances in `list` too, and reports no such removal to watchers.
#[derive(Default)]
pub(crate) struct ListSweepsSilently(Leases, Mutex<HashSet<InstanceId>>);

#[async_trait]
impl Mutant for ListSweepsSilently {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        self.0.start(instance.id(), ttl);
        self.1.lock().unwrap().remove(instance.id());
        sound.register(instance, ttl).await
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        self.1.lock().unwrap().extend(self.0.expired());
        sound.list().await
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let told = |item: &Result<Event>| match item {
            Ok(Event::Expire(id)) => ready(!self.1.lock().unwrap().contains(id)),
            _ => ready(true),
        };
        items(sound).filter(told).boxed()
    }
}

/// Includes expired instances in its snapshot, and never reports their expiry.
#[derive(Default)]
pub(crate) struct SnapshotWithTheDead(Mutex<HashMap<InstanceId, Instance>>);

#[async_trait]
impl Mutant for SnapshotWithTheDead {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        self.0.lock().unwrap().insert(instance.id().clone(), instance.clone());
        sound.register(instance, ttl).await
    }

    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        self.0.lock().unwrap().remove(id);
        sound.deregister(id).await
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let with_the_dead = |item| match item {
            Ok(Event::Reset(_)) => {
                Ok(Event::Reset(self.0.lock().unwrap().values().cloned().collect()))
            }
            other => other,
        };
        items(sound).map(with_the_dead).boxed()
    }
}

/// Uses one connection, which a watch blocks for everything else.
#[derive(Default)]
pub(crate) struct WatchHoldsTheConnection(Mutex<HashMap<usize, Arc<tokio::sync::Mutex<()>>>>);

impl WatchHoldsTheConnection {
    /// The connection of a client.
    fn connection(&self, sound: &Sound) -> Arc<tokio::sync::Mutex<()>> {
        let client = Arc::as_ptr(&sound.driver).cast::<()>() as usize;
        Arc::clone(self.0.lock().unwrap().entry(client).or_default())
    }
}

#[async_trait]
impl Mutant for WatchHoldsTheConnection {
    async fn deregister(&self, sound: &Sound, id: &InstanceId) -> Result<()> {
        let connection = self.connection(sound);
        let _held = connection.lock().await;
        sound.deregister(id).await
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> Items<'a> {
        let connection = self.connection(sound).try_lock_owned();
        let held = stream::unfold((items(sound), connection), async |(mut items, held)| {
            Some((items.next().await?, (items, held)))
        });
        held.boxed()
    }
}
