use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{BoxStream, Driver, Event, Instance, InstanceId, Result, async_trait};

use crate::history::{self, Recorder};

/// A driver that writes down each of its client's attempts.
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
        self.count();
        let watch = watch.inspect(|item| {
            // The next poll is another attempt.
            if item.is_err() {
                self.count();
            }
        });
        Some(watch.boxed())
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}
