//! A driver whose records are JSON texts, so that one of them can be unreadable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::BoxStream;
use gosd_core::{Driver, Event, Instance, InstanceId, Memory, Result, async_trait};

/// Stores the JSON of each instance as the URL of a record in an in-memory driver.
#[derive(Clone, Default)]
pub(crate) struct Texts(pub(crate) Memory);

impl Texts {
    pub(crate) async fn write_unreadable(&self) {
        let record = Instance::from_parts("m-bad".into(), "", "{not JSON", BTreeMap::new());
        self.0.register(&record, Duration::from_secs(600)).await.unwrap();
    }
}

fn read(record: &Instance) -> Option<Instance> {
    Instance::from_json(record.url()).ok()
}

fn read_all(records: &[Instance]) -> Vec<Instance> {
    records.iter().filter_map(read).collect()
}

#[async_trait]
impl Driver for Texts {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let (id, json) = (instance.id().clone(), instance.to_json());
        self.0.register(&Instance::from_parts(id, "", &json, BTreeMap::new()), ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.0.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        Ok(read_all(&self.0.list().await?))
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let events = self.0.watch()?.filter_map(|item| {
            ready(match item {
                Ok(Event::Reset(records)) => Some(Ok(Event::Reset(read_all(&records)))),
                Ok(Event::Put(record)) => read(&record).map(|instance| Ok(Event::Put(instance))),
                other => Some(other),
            })
        });
        Some(events.boxed())
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        let services = services.clone();
        let events = self.watch()?.map(move |item| match item {
            Ok(Event::Reset(mut all)) => {
                all.retain(|instance| services.contains(instance.service()));
                Ok(Event::Reset(all))
            }
            // What changes elsewhere may be there, too.
            other => other,
        });
        Some(events.boxed())
    }
}
