//! Drivers that begin, extend or end leases wrongly, against clauses 1, 4 and 5.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gosd_core::{Driver, Error, ErrorKind, Instance, InstanceId, Result, async_trait};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::{Mutant, Sound};

pub(super) const AGES: Duration = Duration::from_secs(3_600);

/// The expiry of each instance, for drivers that compute it themselves.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<InstanceId, Instant>>);

impl Leases {
    pub(super) fn start(&self, id: &InstanceId, ttl: Duration) {
        self.0.lock().unwrap().insert(id.clone(), Instant::now() + ttl);
    }

    fn remaining(&self, id: &InstanceId) -> Option<Duration> {
        let end = *self.0.lock().unwrap().get(id)?;
        end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    pub(super) fn expired(&self) -> Vec<InstanceId> {
        let now = Instant::now();
        let leases = self.0.lock().unwrap();
        leases.iter().filter(|(_, end)| **end <= now).map(|(id, _)| id.clone()).collect()
    }
}

/// Replaces the record, but keeps its first lease.
#[derive(Default)]
pub(crate) struct KeepsTheLease(Leases);

#[async_trait]
impl Mutant for KeepsTheLease {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let listed = sound.list().await?.iter().any(|other| other.id() == instance.id());
        match self.0.remaining(instance.id()) {
            Some(left) if listed => sound.register(instance, left).await,
            _ => {
                self.0.start(instance.id(), ttl);
                sound.register(instance, ttl).await
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct NeverExpires;

#[async_trait]
impl Mutant for NeverExpires {
    async fn register(&self, sound: &Sound, instance: &Instance, _: Duration) -> Result<()> {
        sound.register(instance, AGES).await
    }
}

#[derive(Default)]
pub(crate) struct ExpiresLate;

#[async_trait]
impl Mutant for ExpiresLate {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, ttl + Duration::from_secs(9)).await
    }
}

/// Sets one lease for the whole collection, so that one live record keeps the dead ones listed.
#[derive(Default)]
pub(crate) struct OneLeaseForAll;

#[async_trait]
impl Mutant for OneLeaseForAll {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        for other in sound.list().await? {
            sound.register(&other, ttl).await?;
        }
        sound.register(instance, ttl).await
    }
}

/// Compares the wrong way round, and so removes the live records.
#[derive(Default)]
pub(crate) struct CollectsTheLive(Leases);

#[async_trait]
impl Mutant for CollectsTheLive {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        self.0.start(instance.id(), ttl);
        sound.register(instance, ttl).await
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        if !self.0.expired().is_empty() {
            for instance in sound.list().await? {
                sound.deregister(instance.id()).await?;
            }
        }
        sound.list().await
    }
}

/// Looks for expired records, and removes them a moment later, renewed or not.
#[derive(Default)]
pub(crate) struct CollectsInARace(Leases);

#[async_trait]
impl Mutant for CollectsInARace {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        self.0.start(instance.id(), ttl);
        sound.register(instance, ttl).await
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let expired = self.0.expired();
        if !expired.is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        for id in expired {
            sound.deregister(&id).await?;
        }
        sound.list().await
    }
}

/// Sends a heartbeat that extends an existing record, and never writes a lost one.
#[derive(Default)]
pub(crate) struct OnlyExtends(Mutex<HashSet<InstanceId>>);

#[async_trait]
impl Mutant for OnlyExtends {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let first = self.0.lock().unwrap().insert(instance.id().clone());
        let list = sound.list().await?;
        match list.iter().find(|other| other.id() == instance.id()) {
            None if !first => Ok(()),
            _ => sound.register(instance, ttl).await,
        }
    }
}

/// Writes the record first, and its lease in a second step.
#[derive(Default)]
pub(crate) struct WritesTheLeaseLast;

#[async_trait]
impl Mutant for WritesTheLeaseLast {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, AGES).await?;
        yield_now().await;
        sound.register(instance, ttl).await
    }
}

/// Ends a lease by a timer in the process that registered. After a `kill -9`, no such lease ever ends.
#[derive(Default)]
pub(crate) struct LeaseIsALocalTimer(Arc<Mutex<HashMap<InstanceId, u64>>>);

#[async_trait]
impl Mutant for LeaseIsALocalTimer {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, AGES).await?;
        let (leases, records) = (Arc::clone(&self.0), sound.records.clone());
        let id = instance.id().clone();
        let number = {
            let mut leases = leases.lock().unwrap();
            let lease = leases.entry(id.clone()).or_default();
            *lease += 1;
            *lease
        };
        tokio::spawn(async move {
            sleep(ttl).await;
            if leases.lock().unwrap()[&id] != number {
                return;
            }
            let all = records.list().await.unwrap_or_default();
            if let Some(record) = all.iter().find(|record| *record.id() == id) {
                // A lease of zero expires the record now.
                records.register(record, Duration::ZERO).await.unwrap();
            }
        });
        Ok(())
    }
}

/// Rounds leases down to whole seconds.
#[derive(Default)]
pub(crate) struct TruncatesLeases;

#[async_trait]
impl Mutant for TruncatesLeases {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, Duration::from_secs(ttl.as_secs())).await
    }
}

/// Asks for the whole lease of a server that grants a minute at most.
#[derive(Default)]
pub(crate) struct CapsLeases;

#[async_trait]
impl Mutant for CapsLeases {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.register(instance, ttl.min(Duration::from_secs(60))).await
    }
}

/// Talks to a server that refuses leases of more than an hour.
#[derive(Default)]
pub(crate) struct RefusesLongLeases;

#[async_trait]
impl Mutant for RefusesLongLeases {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        if ttl > Duration::from_secs(3_600) {
            return Err(Error::new(ErrorKind::Config, "the lease is too long"));
        }
        sound.register(instance, ttl).await
    }
}

/// Looks for expired records, and removes them in a task that does not check again.
#[derive(Default)]
pub(crate) struct SweepsLater(Leases);

#[async_trait]
impl Mutant for SweepsLater {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        self.0.start(instance.id(), ttl);
        sound.register(instance, ttl).await
    }

    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        let (expired, driver) = (self.0.expired(), Arc::clone(&sound.driver));
        if !expired.is_empty() {
            tokio::spawn(async move {
                sleep(Duration::from_millis(200)).await;
                for id in expired {
                    let _ = driver.deregister(&id).await;
                }
            });
        }
        sound.list().await
    }
}
