//! Drivers that do what no driver should: panic, or never stop yielding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gosd_core::{
    BoxFuture, BoxStream, Client, Driver, ErrorKind, Event, Instance, InstanceId, Memory,
    Registration, Result, View, async_trait,
};

use tokio::time::sleep;

use crate::support::{is_stale, is_well, soon, tasks, until_seen, until_status};

/// A backend that never stops changing.
struct Storm;

#[async_trait]
impl Driver for Storm {
    async fn register(&self, _: &Instance, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn deregister(&self, _: &InstanceId) -> Result<()> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let instance = Instance::new("mail", "http://10.0.0.1").unwrap();
        let put = |i: usize| Event::Put(instance.clone().with_metadata("i", &i.to_string()));
        let events: Vec<_> = (0..100).map(|i| Ok(put(i))).collect();
        Some(stream::iter(events.into_iter().cycle()).boxed())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_late_event_makes_a_closed_view_fresh_again() {
    for _ in 0..200 {
        let client = Client::builder(Arc::new(Storm)).start().await.unwrap();
        client.shutdown().await.unwrap();
        tokio::task::yield_now().await;
        let served = client.instances("mail");
        for _ in 0..100 {
            assert!(matches!(client.status().view, View::Stale { .. }), "{:?}", client.status());
            assert_eq!(client.instances("mail"), served);
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_watch_that_always_has_more_leaves_time_for_others() {
    let client = Client::builder(Arc::new(Storm)).start().await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    client.shutdown().await.unwrap();
}

/// A `Memory` whose methods panic on demand.
#[derive(Default)]
struct Panicking {
    memory: Memory,
    panics: AtomicBool,
}

impl Panicking {
    fn check(&self) {
        assert!(!self.panics.load(Ordering::Relaxed), "as the test asked for");
    }
}

#[async_trait]
impl Driver for Panicking {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.check();
        self.memory.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.check();
        self.memory.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.check();
        self.memory.list().await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let check = |item| {
            self.check();
            item
        };
        Some(self.memory.watch()?.map(check).boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_driver_is_a_failure_like_any_other() {
    let driver = Arc::new(Panicking::default());
    let builder = Client::builder(Arc::clone(&driver) as _).register("mail", "http://10.0.0.1");
    let client = soon(builder.start()).await.unwrap();

    driver.panics.store(true, Ordering::Relaxed);
    driver.memory.wipe();
    let status = until_status(&client, |status| {
        is_stale(status) && matches!(status.registration, Registration::Retrying { .. })
    });
    let Registration::Retrying { error, .. } = status.await.registration else { unreachable!() };
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some("register")));
    assert_eq!(soon(client.refresh()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(client.pick("mail").is_some());

    driver.panics.store(false, Ordering::Relaxed);
    until_status(&client, is_well).await;
    let other = Instance::new("mail", "http://10.0.0.2").unwrap();
    driver.memory.register(&other, Duration::from_secs(86_400)).await.unwrap();
    until_seen(&client, "mail", 2).await;

    driver.panics.store(true, Ordering::Relaxed);
    assert_eq!(soon(client.shutdown()).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(tasks().await, 0);
}

/// A driver whose `watch` panics when it is opened for the second time.
struct PanicsInWatch {
    memory: Memory,
    opened: AtomicUsize,
}

#[async_trait]
impl Driver for PanicsInWatch {
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
        assert!(self.opened.fetch_add(1, Ordering::SeqCst) != 1, "as the test asked for");
        // The stream ends after the snapshot, so that core opens it again.
        Some(self.memory.watch()?.take(1).boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_watch_is_a_failure_like_any_other() {
    let driver = Arc::new(PanicsInWatch { memory: Memory::new(), opened: AtomicUsize::new(0) });
    let builder = Client::builder(Arc::clone(&driver) as _).register("mail", "http://10.0.0.1");
    let client = soon(builder.start()).await.unwrap();
    sleep(Duration::from_secs(600)).await;
    assert!(driver.opened.load(Ordering::SeqCst) > 2);
    client.refresh().await.unwrap();
    assert!(client.pick("mail").is_some());
}

/// A driver that panics before it returns a future, as one written without `#[async_trait]` may.
struct PanicsBeforeTheFuture {
    memory: Memory,
    panics: AtomicBool,
}

impl Driver for PanicsBeforeTheFuture {
    fn register<'a, 'b, 'c>(
        &'a self,
        instance: &'b Instance,
        ttl: Duration,
    ) -> BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test asked for");
        self.memory.register(instance, ttl)
    }

    fn deregister<'a, 'b, 'c>(&'a self, id: &'b InstanceId) -> BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test asked for");
        self.memory.deregister(id)
    }

    fn list<'a, 'c>(&'a self) -> BoxFuture<'c, Result<Vec<Instance>>>
    where
        'a: 'c,
        Self: 'c,
    {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test asked for");
        self.memory.list()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_future_is_a_failure_like_any_other() {
    let memory = Memory::new();
    let driver =
        Arc::new(PanicsBeforeTheFuture { memory: memory.clone(), panics: AtomicBool::new(false) });
    let builder = Client::builder(Arc::clone(&driver) as _).register("mail", "http://10.0.0.1");
    let client = soon(builder.start()).await.unwrap();
    driver.panics.store(true, Ordering::SeqCst);
    until_status(&client, |status| {
        is_stale(status) && matches!(status.registration, Registration::Retrying { .. })
    })
    .await;
    driver.panics.store(false, Ordering::SeqCst);
    until_status(&client, is_well).await;
    assert_eq!(memory.list().await.unwrap().len(), 1);
    driver.panics.store(true, Ordering::SeqCst);
    assert!(soon(client.leave()).await.is_err());
}

/// A backend whose watch begins anew more often than a read takes.
struct BeginsAnew;

#[async_trait]
impl Driver for BeginsAnew {
    async fn register(&self, _: &Instance, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn deregister(&self, _: &InstanceId) -> Result<()> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        sleep(Duration::from_secs(2)).await;
        Ok(Vec::new())
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let begin_anew = async |()| {
            sleep(Duration::from_secs(1)).await;
            Some((Ok(Event::Reset(Vec::new())), ()))
        };
        Some(Box::pin(stream::unfold((), begin_anew)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_ends_though_a_reset_overtakes_every_read() {
    let client = Client::builder(Arc::new(BeginsAnew)).start().await.unwrap();
    let error = soon(client.refresh()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some("list")));
}
