//! A backend that fails as a test asks, and ways to wait for a state of a client.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use gosd_core::{
    Client, ClientBuilder, Driver, ErrorKind, Instance, InstanceId, Memory, Registration, Settings,
    Status, View,
};
use gosd_testkit::{Fault, Faulty, Operation};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

pub(crate) const DOWN: Fault = Fault::Fail(ErrorKind::Unavailable);
pub(crate) const NO_TIME: Duration = Duration::ZERO;
/// How long an instance is shown after its lease, for its owner may object.
pub(crate) const OBJECTION: Duration = Duration::from_millis(500);
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// The default settings.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const ATTEMPTS: usize = 3;

/// Longer than anything in these tests takes. Time is paused, so no test waits for it.
const LATE: Duration = Duration::from_secs(86_400);

/// A database, and the connection to it that all clients of the test share.
pub(crate) struct Backend {
    pub(crate) memory: Memory,
    pub(crate) link: Faulty,
}

impl Backend {
    pub(crate) fn new() -> Self {
        let memory = Memory::new();
        let link = Faulty::new(Arc::new(memory.clone()));
        Self { memory, link }
    }

    /// A backend whose driver has no `watch`.
    pub(crate) fn polled() -> Self {
        let Self { memory, link } = Self::new();
        Self { memory, link: link.without_watch() }
    }

    /// A second connection to the same database, without faults.
    pub(crate) fn elsewhere(&self) -> Self {
        let link = Faulty::new(Arc::new(self.memory.clone()));
        Self { memory: self.memory.clone(), link }
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder(Arc::new(self.link.clone()))
    }

    pub(crate) async fn discover(&self) -> Client {
        self.discover_with(Settings::default()).await
    }

    pub(crate) async fn discover_with(&self, settings: Settings) -> Client {
        soon(self.builder().settings(settings).start()).await.unwrap()
    }

    pub(crate) async fn register(&self, service: &str, url: &str) -> Client {
        soon(self.builder().register(service, url).start()).await.unwrap()
    }

    /// Registers an instance that is never renewed.
    pub(crate) async fn put(&self, service: &str, url: &str, lease: Duration) -> InstanceId {
        let instance = Instance::new(service, url).unwrap();
        self.memory.register(&instance, lease).await.unwrap();
        instance.id().clone()
    }

    /// Registers an instance for longer than any test takes.
    pub(crate) async fn put_for_long(&self, service: &str, url: &str) -> InstanceId {
        self.put(service, url, 100 * LATE).await
    }

    pub(crate) async fn holds(&self, id: &InstanceId) -> bool {
        self.memory.list().await.unwrap().iter().any(|instance| instance.id() == id)
    }

    /// The times of the calls that begin from now on.
    pub(crate) async fn times(&self, operation: Operation, count: usize) -> Vec<Instant> {
        let before = self.link.calls(operation);
        let mut times = Vec::new();
        for nth in 1..=count {
            soon(self.link.called(operation, before + nth)).await;
            times.push(Instant::now());
        }
        times
    }
}

/// Awaits something that must complete.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LATE, future).await.expect("it takes more than a day")
}

/// The next item, or `None` at the end of the stream.
pub(crate) async fn item<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    soon(stream.next()).await
}

/// Waits until the client's status satisfies the condition.
pub(crate) async fn until_status(client: &Client, holds: impl Fn(&Status) -> bool) -> Status {
    let mut changes = client.status_changes();
    loop {
        let status = item(&mut changes).await.expect("the client is shut down");
        if holds(&status) {
            return status;
        }
    }
}

pub(crate) fn is_well(status: &Status) -> bool {
    matches!(status.registration, Registration::Registered | Registration::DiscoverOnly)
        && matches!(status.view, View::Fresh)
}

pub(crate) fn is_stale(status: &Status) -> bool {
    matches!(status.view, View::Stale { .. })
}

/// Waits until the client sees this many instances of a service.
pub(crate) async fn until_seen(client: &Client, service: &str, count: usize) {
    let mut changes = client.changes();
    while client.instances(service).len() != count {
        item(&mut changes).await.expect("the client is shut down");
    }
}

/// Runs everything that is due now.
pub(crate) async fn settle() {
    tokio::time::sleep(MS).await;
}

/// How many tasks run, once stopped ones have had time to end.
pub(crate) async fn tasks() -> usize {
    settle().await;
    Handle::current().metrics().num_alive_tasks()
}

/// The URLs of a service, sorted.
pub(crate) fn urls(client: &Client, service: &str) -> Vec<String> {
    let instances = client.instances(service);
    let mut urls: Vec<_> = instances.iter().map(|instance| instance.url().to_owned()).collect();
    urls.sort();
    urls
}
