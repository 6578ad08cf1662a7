//! Drivers whose renewals change or hide the record, against clauses 1 and 5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Instance, Result, async_trait};
use tokio::time::sleep;

use super::{Mutant, Sound};

/// The record that exists before a `register`.
async fn before(sound: &Sound, instance: &Instance) -> Result<Option<Instance>> {
    Ok(sound.list().await?.into_iter().find(|other| other.id() == instance.id()))
}

fn with_metadata(instance: &Instance, metadata: BTreeMap<String, String>) -> Instance {
    Instance::from_parts(instance.id().clone(), instance.service(), instance.url(), metadata)
}

/// Uses an upsert that does not update the service.
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

/// Sends a heartbeat that writes only the URL.
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

/// Sets the metadata keys of the new record, and leaves other old keys.
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

/// Treats an instance whose URL is the same as unchanged.
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

/// Replaces a record by a removal and an insert, which watchers see as a goodbye and a new instance.
#[derive(Default)]
pub(crate) struct DeletesAndInserts;

#[async_trait]
impl Mutant for DeletesAndInserts {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        sound.deregister(instance.id()).await?;
        sound.register(instance, ttl).await
    }
}

/// Removes and inserts in two transactions.
#[derive(Default)]
pub(crate) struct BlinksWhileRenewing;

#[async_trait]
impl Mutant for BlinksWhileRenewing {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        if before(sound, instance).await?.is_none() {
            return sound.register(instance, ttl).await;
        }
        // A task completes both, even if the call is dropped.
        let (driver, instance) = (Arc::clone(&sound.driver), instance.clone());
        let both = tokio::spawn(async move {
            driver.deregister(instance.id()).await?;
            sleep(Duration::from_millis(5)).await;
            driver.register(&instance, ttl).await
        });
        both.await.expect("it does not panic")
    }
}

/// Writes the URL and then the metadata in a task, which goes on when the call is dropped.
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
