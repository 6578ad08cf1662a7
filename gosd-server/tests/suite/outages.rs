//! Databases that are out of contact or refuse writes, and drivers with bugs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{
    BoxFuture, BoxStream, Driver, ErrorKind, Event, Instance, InstanceId, Memory, Result,
    async_trait,
};
use gosd_server::Settings;
use gosd_testkit::{Fault, Faulty, Operation};
use tokio::time::timeout;

use super::support::{LATE, LEASE, ask, http, instance, open, start, url};

fn serving(driver: Arc<dyn Driver>) -> Settings {
    Settings::new().namespace("gosd", driver).expect("a good name")
}

/// Sends requests until an answer has this status.
async fn until(url: &str, status: u16) {
    let asking = async {
        while ask(http().get(url)).await.status != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, asking).await.unwrap_or_else(|_| panic!("{url} never answers {status}"));
}

/// Only the watch notices that no lease can be renewed, but lists fail too, for the clients that poll.
#[tokio::test]
async fn while_the_watch_is_out_of_contact_lists_fail_and_streams_end() {
    let faulty = Faulty::new(Arc::new(Memory::new()));
    let server = start(serving(Arc::new(faulty.clone()))).await;
    let driver = open(&url(&server, "")).await;
    let mail = instance("mail");
    driver.register(&mail, LEASE).await.unwrap();
    let mut watch = driver.watch().unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(vec![mail.clone()]));

    faulty.on(Operation::Watch, Fault::Fail(ErrorKind::Unavailable));
    let item = timeout(LATE, watch.next()).await.unwrap().unwrap();
    assert_eq!(item.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = driver.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let list = ask(http().get(url(&server, "/v1/gosd/instances"))).await;
    assert_eq!((list.status, list.headers.contains_key("retry-after")), (503, true));

    faulty.clear_all();
    until(&url(&server, "/v1/gosd/instances"), 200).await;
    assert_eq!(driver.list().await.unwrap(), [mail]);
    let contact = async {
        while !matches!(watch.next().await, Some(Ok(Event::Resumed | Event::Reset(_)))) {}
    };
    timeout(LATE, contact).await.expect("the watch goes on");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_expires_nobody() {
    let memory = Memory::new();
    let server = start(serving(Arc::new(memory.clone()))).await;
    let driver = open(&url(&server, "")).await;
    let mail = instance("mail");
    driver.register(&mail, Duration::from_secs(2)).await.unwrap();
    let mut watch = driver.watch().unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    memory.refuse_writes(true);
    let refused = async {
        let mut items = Vec::new();
        while items.len() < 3 {
            items.push(watch.next().await.unwrap());
        }
        items
    };
    let items = timeout(LATE, refused).await.unwrap();
    assert!(items.iter().all(Result::is_err), "{items:?}");
    assert!(driver.list().await.is_err());
    assert!(driver.register(&mail, LEASE).await.is_err());
}

/// A driver whose first watches panic.
struct Panicking {
    memory: Memory,
    left: AtomicU32,
}

#[async_trait]
impl Driver for Panicking {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.memory.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.memory.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.memory.list().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let panics = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok();
        let events = self.memory.watch()?;
        Some(events.inspect(move |_| assert!(!panics, "a bug of the driver")).boxed())
    }
}

#[tokio::test]
async fn one_panic_of_the_watch_freezes_nothing() {
    let memory = Memory::new();
    let driver = Panicking { memory: memory.clone(), left: 1.into() };
    let server = start(serving(Arc::new(driver))).await;
    until(&url(&server, "/health"), 200).await;
    let client = open(&url(&server, "")).await;
    let mut watch = client.watch().unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    let mail = instance("mail");
    memory.register(&mail, LEASE).await.unwrap();
    let put = timeout(LATE, watch.next()).await.expect("the view is not frozen");
    assert_eq!(put.unwrap().unwrap(), Event::Put(mail));
}

#[tokio::test]
async fn a_server_whose_watch_always_panics_is_not_healthy() {
    let driver = Panicking { memory: Memory::new(), left: u32::MAX.into() };
    let server = start(serving(Arc::new(driver))).await;
    let health = ask(http().get(url(&server, "/health"))).await;
    assert_eq!(health.status, 503, "{}", health.body);
}

#[tokio::test]
async fn a_call_that_panics_is_answered_with_an_error() {
    struct Broken;

    #[async_trait]
    impl Driver for Broken {
        async fn register(&self, _: &Instance, _: Duration) -> Result<()> {
            panic!("a bug of the driver")
        }

        async fn deregister(&self, _: &InstanceId) -> Result<()> {
            panic!("a bug of the driver")
        }

        async fn list(&self) -> Result<Vec<Instance>> {
            panic!("a bug of the driver")
        }
    }

    answers_503(Arc::new(Broken)).await;
}

#[tokio::test]
async fn a_panic_before_a_call_has_begun_is_answered_with_an_error() {
    /// A driver that panics before it returns a future, as one without `#[async_trait]` may.
    struct Abrupt;

    impl Driver for Abrupt {
        fn register<'a, 'b, 'c>(&'a self, _: &'b Instance, _: Duration) -> BoxFuture<'c, Result<()>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            panic!("a bug of the driver")
        }

        fn deregister<'a, 'b, 'c>(&'a self, _: &'b InstanceId) -> BoxFuture<'c, Result<()>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            panic!("a bug of the driver")
        }

        fn list<'a, 'c>(&'a self) -> BoxFuture<'c, Result<Vec<Instance>>>
        where
            'a: 'c,
            Self: 'c,
        {
            panic!("a bug of the driver")
        }
    }

    answers_503(Arc::new(Abrupt)).await;
}

async fn answers_503(driver: Arc<dyn Driver>) {
    let server = start(serving(driver)).await;
    let instances = url(&server, "/v1/gosd/instances");
    // The first request may have stopped a task that the second one needs.
    for _ in 0..2 {
        assert_eq!(ask(http().get(&instances)).await.status, 503);
        assert_eq!(ask(http().delete(format!("{instances}/a-1"))).await.status, 503);
    }
}
