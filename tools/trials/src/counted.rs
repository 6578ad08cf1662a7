//! A driver that records each attempt of its client to reach the backend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gosd_core::{BoxStream, Driver, Event, Instance, InstanceId, Result, async_trait};

use crate::history::{self, Recorder};

/// A driver that records each of its client's attempts.
pub(crate) struct Counted {
    pub(crate) inner: Arc<dyn Driver>,
    pub(crate) client: usize,
    pub(crate) recorder: Recorder,
}

impl Counted {
    fn count(&self) {
        self.recorder.record(history::Event::Attempt { client: self.client });
    }

    /// Counts the first poll of a watch, which is an attempt, and each poll after an error; records each snapshot.
    fn counting<'a>(&'a self, watch: BoxStream<'a, Result<Event>>) -> BoxStream<'a, Result<Event>> {
        let polls = stream::unfold((watch, true), async move |(mut watch, is_attempt)| {
            if is_attempt {
                self.count();
            }
            let item = watch.next().await?;
            let failed = item.is_err();
            if let Ok(Event::Reset(_)) = item {
                self.recorder.record(history::Event::Reset { client: self.client });
            }
            Some((item, (watch, failed)))
        });
        polls.boxed()
    }
}

#[warn(clippy::missing_trait_methods, reason = "it passes all of them on")]
#[async_trait]
impl Driver for Counted {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.count();
        self.inner.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.count();
        self.inner.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.count();
        self.inner.list().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(self.counting(self.inner.watch()?))
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        Some(self.counting(self.inner.watch_services(services)?))
    }

    async fn list_services(&self, services: &BTreeSet<String>) -> Result<Vec<Instance>> {
        self.count();
        self.inner.list_services(services).await
    }

    fn is_polled_in_part(&self) -> bool {
        self.inner.is_polled_in_part()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn identity(&self) -> Option<&str> {
        self.inner.identity()
    }
}
