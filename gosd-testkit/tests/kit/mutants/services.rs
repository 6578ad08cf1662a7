//! Drivers whose watches of some services are broken, against clause 16.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::ready;
use futures_util::{FutureExt, StreamExt, stream};
use gosd_core::{Event, Instance, InstanceId, Result, async_trait};
use tokio::task::yield_now;

use super::{Items, Mutant, Sound};

/// A watch of what satisfies a condition, where those that no longer do so are removed.
fn only<'a>(sound: &'a Sound, holds: impl Fn(&Instance) -> bool + Send + 'a) -> Items<'a> {
    let all = super::items(sound).map(move |item| match item {
        Ok(Event::Reset(mut all)) => {
            all.retain(&holds);
            Ok(Event::Reset(all))
        }
        Ok(Event::Put(instance)) if !holds(&instance) => Ok(Event::Remove(instance.id().clone())),
        other => other,
    });
    all.boxed()
}

fn first(services: &BTreeSet<String>) -> String {
    services.first().expect("it is never empty").clone()
}

/// Takes one service where there are several.
#[derive(Default)]
pub(crate) struct WatchesTheFirst;

#[async_trait]
impl Mutant for WatchesTheFirst {
    fn watch_services<'a>(&'a self, sound: &'a Sound, services: &BTreeSet<String>) -> Items<'a> {
        let first = first(services);
        only(sound, move |instance| instance.service() == first)
    }
}

/// Finds the instances of a service by the beginning of their ids, and reports a moved one under its id's
/// service.
#[derive(Default)]
pub(crate) struct MatchesBeginnings;

#[async_trait]
impl Mutant for MatchesBeginnings {
    fn watch_services<'a>(&'a self, sound: &'a Sound, services: &BTreeSet<String>) -> Items<'a> {
        let services = services.clone();
        only(sound, move |instance| {
            services.iter().any(|service| instance.id().as_str().starts_with(&**service))
        })
    }

    async fn list_services(
        &self,
        sound: &Sound,
        services: &BTreeSet<String>,
    ) -> Result<Vec<Instance>> {
        let mut all = sound.list().await?;
        for instance in &mut all {
            let id = instance.id().clone();
            if let Some(service) = services.iter().find(|it| id.as_str().starts_with(&***it)) {
                let metadata = instance.metadata().clone();
                *instance = Instance::from_parts(id, service, instance.url(), metadata);
            }
        }
        Ok(all)
    }
}

/// Begins with nothing, and yields the changes.
#[derive(Default)]
pub(crate) struct BeginsEmpty;

#[async_trait]
impl Mutant for BeginsEmpty {
    fn watch_services<'a>(&'a self, sound: &'a Sound, _: &BTreeSet<String>) -> Items<'a> {
        let all = super::items(sound).map(|item| match item {
            Ok(Event::Reset(_)) => Ok(Event::Reset(Vec::new())),
            other => other,
        });
        all.boxed()
    }
}

/// Yields the `Put`s of its services, and says nothing when an instance goes over to another one.
#[derive(Default)]
pub(crate) struct KeepsThoseWhoMove;

#[async_trait]
impl Mutant for KeepsThoseWhoMove {
    fn watch_services<'a>(&'a self, sound: &'a Sound, services: &BTreeSet<String>) -> Items<'a> {
        let services = services.clone();
        let is_asked = move |item: &Result<Event>| {
            ready(match item {
                Ok(Event::Put(instance)) => services.contains(instance.service()),
                _ => true,
            })
        };
        super::items(sound).filter(is_asked).boxed()
    }
}

/// Does not know to which service an id belonged that came after the snapshot, and so yields no end of it.
#[derive(Default)]
pub(crate) struct TellsNoServiceOfAnId;

#[async_trait]
impl Mutant for TellsNoServiceOfAnId {
    fn watch_services<'a>(&'a self, sound: &'a Sound, services: &BTreeSet<String>) -> Items<'a> {
        let mut known: HashSet<InstanceId> = HashSet::new();
        let services = services.clone();
        let is_known = move |item: &Result<Event>| {
            ready(match item {
                Ok(Event::Reset(all)) => {
                    let asked = all.iter().filter(|it| services.contains(it.service()));
                    known = asked.map(|instance| instance.id().clone()).collect();
                    true
                }
                Ok(Event::Remove(id) | Event::Expire(id)) => known.contains(id),
                _ => true,
            })
        };
        super::items(sound).filter(is_known).boxed()
    }
}

/// Lists one service where there are several.
#[derive(Default)]
pub(crate) struct ListsTheFirst;

#[async_trait]
impl Mutant for ListsTheFirst {
    async fn list_services(
        &self,
        sound: &Sound,
        services: &BTreeSet<String>,
    ) -> Result<Vec<Instance>> {
        let first = first(services);
        let all = sound.list().await?;
        Ok(all.into_iter().filter(|instance| instance.service() == first).collect())
    }
}

/// Of several services, reads the snapshot and subscribes a moment later.
#[derive(Default)]
pub(crate) struct SubscribesToMoreLate;

#[async_trait]
impl Mutant for SubscribesToMoreLate {
    fn watch_services<'a>(&'a self, sound: &'a Sound, services: &BTreeSet<String>) -> Items<'a> {
        if services.len() == 1 {
            return super::items(sound);
        }
        let snapshot = async move {
            let list = sound.list().await;
            for _ in 0..3 {
                yield_now().await;
            }
            let mut items = super::items(sound);
            let _ = items.next().await;
            stream::iter([list.map(Event::Reset)]).chain(items)
        };
        snapshot.flatten_stream().boxed()
    }
}
