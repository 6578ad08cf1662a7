use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Instance, Result, async_trait};
use tokio::time::sleep;

use super::{Mutant, Sound};

/// The record that is there before a `register`.
async fn before(sound: &Sound, instance: &Instance) -> Result<Option<Instance>> {
    Ok(sound.list().await?.into_iter().find(|other| other.id() == instance.id()))
}

fn with_metadata(instance: &Instance, metadata: BTreeMap<String, String>) -> Instance {
    Instance::from_parts(instance.id().clone(), instance.service(), instance.url(), metadata)
}

/// Has an upsert that does not name the service among what it updates.
#[derive(Default)]
pub(crate) struct KeepsTheService;

#[async_trait]
impl Mutant for KeepsTheService {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let before = before(sound, instance).await?;
        let service = before.as_ref().map_or(instance.service(), Instance::service);
        let (id, metadata) = (instance.id().clone(), instance.metadata().clone());
        let kept = Instance::from_parts(id, service, instance.url(), metadata);
        sound.register(&kept, ttl).await
    }
}

/// Has a heartbeat that writes the URL alone.
#[derive(Default)]
pub(crate) struct RenewsWithoutMetadata;

#[async_trait]
impl Mutant for RenewsWithoutMetadata {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        match before(sound, instance).await? {
            Some(same) if same == *instance => {
                sound.register(&with_metadata(instance, BTreeMap::new()), ttl).await
            }
            _ => sound.register(instance, ttl).await,
        }
    }
}

/// Sets the fields of the metadata that there are, and leaves the others.
#[derive(Default)]
pub(crate) struct MergesMetadata;

#[async_trait]
impl Mutant for MergesMetadata {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let mut merged = instance.metadata().clone();
        if let Some(before) = before(sound, instance).await?
            && !merged.is_empty()
        {
            merged.extend(before.metadata().clone());
            merged.extend(instance.metadata().clone());
        }
        sound.register(&with_metadata(instance, merged), ttl).await
    }
}

/// Takes an instance with the same URL for unchanged.
#[derive(Default)]
pub(crate) struct IgnoresMetadata;

#[async_trait]
impl Mutant for IgnoresMetadata {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        match before(sound, instance).await? {
            Some(before) if before.url() == instance.url() => sound.register(&before, ttl).await,
            _ => sound.register(instance, ttl).await,
        }
    }
}

/// Has a replacing insert, which to every watcher is a goodbye and a new instance.
#[derive(Default)]
pub(crate) struct DeletesAndInserts;

#[async_trait]
impl Mutant for DeletesAndInserts {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.deregister(instance.id()).await?;
        sound.register(instance, ttl).await
    }
}

/// Deletes and inserts in two transactions.
#[derive(Default)]
pub(crate) struct BlinksWhileRenewing;

#[async_trait]
impl Mutant for BlinksWhileRenewing {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        if before(sound, instance).await?.is_none() {
            return sound.register(instance, ttl).await;
        }
        // In a task, so that a dropped call is whole all the same.
        let (driver, instance) = (Arc::clone(&sound.driver), instance.clone());
        let both = tokio::spawn(async move {
            driver.deregister(instance.id()).await?;
            sleep(Duration::from_millis(5)).await;
            driver.register(&instance, ttl).await
        });
        both.await.expect("it does not panic")
    }
}

/// Writes the URL and then the metadata, whatever becomes of the call.
#[derive(Default)]
pub(crate) struct WritesInTwoStepsInATask;

#[async_trait]
impl Mutant for WritesInTwoStepsInATask {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let metadata = before(sound, instance).await?.map(|before| before.metadata().clone());
        let (driver, instance) = (Arc::clone(&sound.driver), instance.clone());
        let both = tokio::spawn(async move {
            if let Some(metadata) = metadata {
                driver.register(&with_metadata(&instance, metadata), ttl).await?;
                sleep(Duration::from_millis(2)).await;
            }
            driver.register(&instance, ttl).await
        });
        both.await.expect("it does not panic")
    }
}
