use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{BoxStream, Driver, Event, Instance, Result};
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Longer than any lease that a test waits for.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// What anything may take before a test gives up; generous, for busy machines.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_redis::open(url).await.expect("the URL is good")
}

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good instance")
}

/// A watch, read item by item.
pub(crate) struct Watch<'a>(BoxStream<'a, Result<Event>>);

impl<'a> Watch<'a> {
    /// Begins a watch, and returns it with the snapshot.
    pub(crate) async fn start(driver: &'a dyn Driver) -> (Self, Vec<Instance>) {
        let mut watch = Self(driver.watch().expect("the driver has a watch"));
        match watch.next().await {
            Ok(Event::Reset(all)) => (watch, all),
            other => panic!("a snapshot comes first, not {other:?}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Event> {
        let next = timeout(PATIENCE, self.0.next()).await;
        next.expect("something comes in time").expect("the watch does not end")
    }

    /// The next event; there must be no error.
    pub(crate) async fn event(&mut self) -> Event {
        self.next().await.expect("contact is not lost")
    }
}

/// Keeps the warnings that are logged on the thread where it is the default.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("gosd_redis")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}
