//! Two databases, the connection to each, and a watch over both, for the tests of `Both`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gosd_core::{
    Both, BoxStream, Driver, Error, ErrorKind, Event, Instance, InstanceId, Memory, Result,
};
use gosd_testkit::{Fault, Faulty};
use tokio::time::{sleep, timeout};

pub(crate) const DOWN: Fault = Fault::Fail(ErrorKind::Unavailable);
pub(crate) const LEASE: Duration = Duration::from_secs(15);
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(86_400);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A database, and the connection to it.
pub(crate) struct Place {
    pub(crate) memory: Memory,
    pub(crate) link: Faulty,
}

impl Place {
    pub(crate) fn new() -> Self {
        let memory = Memory::new();
        let link = Faulty::new(Arc::new(memory.clone()));
        Self { memory, link }
    }

    pub(crate) async fn put(&self, instance: &Instance) {
        self.memory.register(instance, LONG_LEASE).await.unwrap();
    }

    pub(crate) async fn has(&self, instance: &Instance) -> bool {
        self.memory.list().await.unwrap().contains(instance)
    }
}

pub(crate) fn places() -> (Place, Place) {
    (Place::new(), Place::new())
}

pub(crate) fn both(one: &Place, other: &Place) -> Both {
    Both::new(Arc::new(one.link.clone()), Arc::new(other.link.clone()))
}

pub(crate) fn named(id: &str, url: &str) -> Instance {
    Instance::from_parts(InstanceId::from(id), "mail", url, [].into())
}

pub(crate) fn mail(id: &str) -> Instance {
    named(id, "http://10.0.0.7:25")
}

/// A watch whose items a test reads one by one.
pub(crate) struct Watch<'a>(BoxStream<'a, Result<Event>>);

impl<'a> Watch<'a> {
    pub(crate) fn open(driver: &'a dyn Driver) -> Self {
        Self(driver.watch().expect("two always have a watch"))
    }

    /// A watch that has yielded its first snapshot.
    pub(crate) async fn begun(driver: &'a dyn Driver) -> Self {
        let mut watch = Self::open(driver);
        assert!(matches!(watch.event().await, Event::Reset(_)));
        watch
    }

    pub(crate) async fn item(&mut self) -> Result<Event> {
        timeout(LONG_LEASE, self.0.next()).await.expect("an item").expect("a watch does not end")
    }

    pub(crate) async fn event(&mut self) -> Event {
        self.item().await.expect("no loss of contact")
    }

    pub(crate) async fn loss(&mut self) -> Error {
        self.item().await.expect_err("a loss of contact")
    }

    /// Requires that the watch has nothing more to yield for now.
    pub(crate) async fn says_nothing(&mut self) {
        assert_eq!(self.0.next().now_or_never().map(|item| format!("{item:?}")), None);
        sleep(SECOND / 10).await;
        assert_eq!(self.0.next().now_or_never().map(|item| format!("{item:?}")), None);
    }
}

/// A `Reset` with these instances.
pub(crate) fn all<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Event {
    Event::Reset(instances.into_iter().cloned().collect())
}
