use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use gosd_core::{Instance, InstanceId, Result, async_trait};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::{Mutant, Sound};

pub(super) const AGES: Duration = Duration::from_secs(3_600);

/// What a driver knows that judges expiry itself.
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

/// Writes the record anew, and lets its first lease run on.
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

/// Puts the expiry on the whole, so that one live record keeps the dead ones.
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

/// Has the comparison the wrong way round.
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

/// Looks for what has expired, and removes it a moment later, renewed or not.
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

/// Has a heartbeat that extends what is there, and writes nothing.
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

/// Writes the record, and then gives it its lease.
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
