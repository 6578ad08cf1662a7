//! A driver that records each attempt of its client to reach the backend.

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
}

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
        let watch = self.inner.watch()?;
        // The first poll is an attempt, and so is each poll after an error.
        let polls = stream::unfold((watch, true), async move |(mut watch, is_attempt)| {
            if is_attempt {
                self.count();
            }
            let item = watch.next().await?;
            let failed = item.is_err();
            Some((item, (watch, failed)))
        });
        Some(polls.boxed())
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}
