//! A mutant of `Both` that drops an instance when the first of its two sides hears a goodbye.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select, unfold};
use gosd_core::{Both, Driver, Event, Instance, InstanceId, Result, async_trait};
use tokio::sync::broadcast::{self, Sender, error::RecvError};

/// The size of the channel, which is more than the number of services.
const GOODBYES: usize = 256;

pub(super) fn hasty(primary: Arc<dyn Driver>, also: Arc<dyn Driver>) -> Both {
    let (one, other) = (broadcast::channel(GOODBYES).0, broadcast::channel(GOODBYES).0);
    let primary = Talkative { driver: primary, tells: one.clone(), hears: other.clone() };
    let also = Talkative { driver: also, tells: other, hears: one };
    Both::new(Arc::new(primary), Arc::new(also))
}

/// One side, which yields a goodbye when the other side hears one.
struct Talkative {
    driver: Arc<dyn Driver>,
    tells: Sender<InstanceId>,
    hears: Sender<InstanceId>,
}

#[async_trait]
impl Driver for Talkative {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.driver.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.driver.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.driver.list().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let own = self.driver.watch()?.inspect(|item| {
            if let Ok(Event::Remove(id)) = item {
                // This fails while the other side is not watched.
                let _ = self.tells.send(id.clone());
            }
        });
        let heard = unfold(self.hears.subscribe(), async |mut hears| {
            loop {
                match hears.recv().await {
                    Ok(id) => return Some((Ok(Event::Remove(id)), hears)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Some(select(own, heard).boxed())
    }

    fn name(&self) -> &str {
        self.driver.name()
    }
}
