//! Drivers that mishandle a database which refuses writes, against clause 15.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use gosd_core::{Driver, Error, ErrorKind, Event, Instance, InstanceId, Result, async_trait};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::leases::{AGES, Leases};
use super::{Mutant, Sound};

/// Whether the database refuses writes now, whatever the state of the connection.
async fn refuses(sound: &Sound) -> bool {
    sound.records.list().await.is_err()
}

/// Keeps listing, and removes instances whose leases run out while nobody can renew.
#[derive(Default)]
pub(crate) struct ListsWhatIsLeft(Leases, Mutex<Vec<Instance>>);

#[async_trait]
impl Mutant for ListsWhatIsLeft {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, ttl).await?;
        self.0.start(instance.id(), ttl);
        Ok(())
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let mut last = self.1.lock().await;
        if !refuses(sound).await {
            *last = sound.list().await?;
        } else {
            let expired: HashSet<InstanceId> = self.0.expired().into_iter().collect();
            last.retain(|instance| !expired.contains(instance.id()));
        }
        Ok(last.clone())
    }
}

/// Its watch only reads, and so never learns that writes are refused.
#[derive(Default)]
pub(crate) struct RefusalIsUnseen;

impl Mutant for RefusalIsUnseen {
    fn watch<'a>(&'a self, sound: &'a Sound) -> BoxStream<'a, Result<Event>> {
        let items = sound.watch().unwrap().filter_map(async |item| {
            let unseen = item.is_err() && refuses(sound).await;
            if unseen {
                sleep(Duration::from_millis(100)).await;
            }
            (!unseen).then_some(item)
        });
        items.boxed()
    }
}

/// Reports the database's refusal as missing rights of this client.
#[derive(Default)]
pub(crate) struct RefusalIsDenied;

#[async_trait]
impl Mutant for RefusalIsDenied {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        match sound.list().await {
            Err(_) if refuses(sound).await => Err(Error::new(ErrorKind::Denied, "read-only")),
            other => other,
        }
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> BoxStream<'a, Result<Event>> {
        let items = sound.watch().unwrap().then(async |item| match item {
            Err(_) if refuses(sound).await => Err(Error::new(ErrorKind::Denied, "read-only")),
            other => other,
        });
        items.boxed()
    }
}

/// Reports leases that run out while nobody can renew.
#[derive(Default)]
pub(crate) struct ExpiresMeanwhile(Leases);

#[async_trait]
impl Mutant for ExpiresMeanwhile {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, ttl).await?;
        self.0.start(instance.id(), ttl);
        Ok(())
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> BoxStream<'a, Result<Event>> {
        let items = sound.watch().unwrap().then(async |item| match item {
            Err(error) if refuses(sound).await => {
                let expired = self.0.expired().into_iter().map(|id| Ok(Event::Expire(id)));
                stream::iter([Err(error)].into_iter().chain(expired).collect::<Vec<_>>())
            }
            other => stream::iter(vec![other]),
        });
        items.flatten().boxed()
    }
}

/// Removes expired instances as soon as it can write again, before anybody has had the chance to renew.
#[derive(Default)]
pub(crate) struct ExpiresAtOnce(Leases);

#[async_trait]
impl Mutant for ExpiresAtOnce {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, ttl).await?;
        self.0.start(instance.id(), ttl);
        Ok(())
    }

    fn watch<'a>(&'a self, sound: &'a Sound) -> BoxStream<'a, Result<Event>> {
        let items = sound.watch().unwrap().flat_map(|item| {
            let swept = match item {
                Ok(Event::Resumed) => self.0.expired(),
                _ => Vec::new(),
            };
            let swept = swept.into_iter().map(|id| Ok(Event::Expire(id)));
            stream::iter([item].into_iter().chain(swept).collect::<Vec<_>>())
        });
        items.boxed()
    }
}

/// Stops removing expired instances when a removal was refused, and never starts again.
#[derive(Default)]
pub(crate) struct KeepsAllForEver(AtomicBool);

#[async_trait]
impl Mutant for KeepsAllForEver {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        if refuses(sound).await {
            self.0.store(true, Ordering::SeqCst);
        } else if self.0.swap(false, Ordering::SeqCst) {
            for other in sound.list().await? {
                sound.register(&other, AGES).await?;
            }
        }
        sound.register(instance, ttl).await
    }
}

/// Logs that a write was refused, and returns success.
#[derive(Default)]
pub(crate) struct PretendsToWrite;

#[async_trait]
impl Mutant for PretendsToWrite {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        match sound.register(instance, ttl).await {
            Err(_) if refuses(sound).await => Ok(()),
            other => other,
        }
    }
}
