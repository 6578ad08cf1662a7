//! Drivers that damage valid values or trip over unreadable ones, against clauses 12 to 14.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gosd_core::{Driver, Error, Event, Instance, Memory, Result, async_trait};

use super::leases::AGES;
use super::{Mutant, Sound};

fn rewritten(instance: &Instance, url: &str, metadata: impl Fn(&str) -> String) -> Instance {
    let metadata = instance.metadata().iter().map(|(k, v)| (metadata(k), metadata(v))).collect();
    Instance::from_parts(instance.id().clone(), instance.service(), url, metadata)
}

/// Stores URLs in a column of 255 bytes.
#[derive(Default)]
pub(crate) struct CutsUrls;

#[async_trait]
impl Mutant for CutsUrls {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let url = instance.url();
        let cut = rewritten(instance, &url[..url.len().min(255)], str::to_owned);
        sound.register(&cut, ttl).await
    }
}

#[derive(Default)]
pub(crate) struct TrimsMetadata;

#[async_trait]
impl Mutant for TrimsMetadata {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let trimmed = rewritten(instance, instance.url(), |text| text.trim().to_owned());
        sound.register(&trimmed, ttl).await
    }
}

/// Treats ids that differ only in case as the same.
#[derive(Default)]
pub(crate) struct FoldsCase;

#[async_trait]
impl Mutant for FoldsCase {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        for other in sound.list().await? {
            if other.id() != instance.id()
                && other.id().as_str().eq_ignore_ascii_case(instance.id().as_str())
            {
                sound.deregister(other.id()).await?;
            }
        }
        sound.register(instance, ttl).await
    }
}

#[derive(Default)]
pub(crate) struct WatchesWithoutMetadata;

impl Mutant for WatchesWithoutMetadata {
    fn watch<'a>(&'a self, sound: &'a Sound) -> BoxStream<'a, Result<Event>> {
        let bare = |item| match item {
            Ok(Event::Put(instance)) => Ok(Event::Put(Instance::from_parts(
                instance.id().clone(),
                instance.service(),
                instance.url(),
                BTreeMap::new(),
            ))),
            other => other,
        };
        sound.watch().unwrap().map(bare).boxed()
    }
}

#[derive(Default)]
pub(crate) struct OneNamespace;

impl Mutant for OneNamespace {
    fn namespace(&self, _: &str) -> String {
        "all".to_owned()
    }
}

#[derive(Default)]
pub(crate) struct NamespaceWithoutCase;

impl Mutant for NamespaceWithoutCase {
    fn namespace(&self, asked: &str) -> String {
        asked.to_ascii_lowercase()
    }
}

/// Stores namespaces, of up to 64 characters, in a column of 48.
#[derive(Default)]
pub(crate) struct CutsNamespaces;

impl Mutant for CutsNamespaces {
    fn namespace(&self, asked: &str) -> String {
        asked.chars().take(48).collect()
    }
}

/// Uses the namespace as part of a path, from which dots are stripped.
#[derive(Default)]
pub(crate) struct StripsDots;

impl Mutant for StripsDots {
    fn namespace(&self, asked: &str) -> String {
        if asked.bytes().all(|byte| byte == b'.') { "/".to_owned() } else { asked.to_owned() }
    }
}

/// Passes URLs through a library that normalizes them.
#[derive(Default)]
pub(crate) struct LowercasesHosts;

#[async_trait]
impl Mutant for LowercasesHosts {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let url = instance.url();
        let host = url.find("://").map_or(0, |at| at + 3);
        let host_end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
        let url = format!("{}{}", url[..host_end].to_ascii_lowercase(), &url[host_end..]);
        sound.register(&rewritten(instance, &url, str::to_owned), ttl).await
    }
}

/// A record that the driver cannot read, among those that it can.
async fn unreadable(records: &Memory) -> Option<Error> {
    let records = records.list().await.ok()?;
    records.iter().find_map(|record| Instance::from_json(record.url()).err())
}

#[derive(Default)]
pub(crate) struct UnreadableIsAnError;

#[async_trait]
impl Mutant for UnreadableIsAnError {
    async fn list(&self, sound: &Sound) -> Result<Vec<Instance>> {
        match unreadable(&sound.records).await {
            Some(error) => Err(error),
            None => sound.list().await,
        }
    }
}

#[derive(Default)]
pub(crate) struct UnreadableEndsTheWatch;

impl Mutant for UnreadableEndsTheWatch {
    fn watch<'a>(&'a self, sound: &'a Sound) -> BoxStream<'a, Result<Event>> {
        let judged =
            sound.watch().unwrap().then(async |item| match unreadable(&sound.records).await {
                Some(error) => Err(error),
                None => item,
            });
        judged.boxed()
    }
}

/// Stops removing expired records at the first one that it cannot read.
#[derive(Default)]
pub(crate) struct UnreadableStopsExpiry;

#[async_trait]
impl Mutant for UnreadableStopsExpiry {
    async fn register(&self, sound: &Sound, instance: &Instance, ttl: Duration) -> Result<()> {
        let sweeps = unreadable(&sound.records).await.is_none();
        sound.register(instance, if sweeps { ttl } else { AGES }).await
    }
}
