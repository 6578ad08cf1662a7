//! Foreign code never runs under a lock of gosd, and keeps nothing that a shutdown released.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Client, Driver, Instance, InstanceId, Memory, Result, async_trait};
use gosd_testkit::{Faulty, Operation};
use tokio::time::sleep;

use crate::support::{DOWN, MS, SECOND, tasks};

static ASKED: OnceLock<Client> = OnceLock::new();

/// A subscriber that calls gosd, such as one that sends log lines to the service `logs`.
struct Asks;

impl tracing::Subscriber for Asks {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("gosd")
    }

    fn event(&self, _: &tracing::Event<'_>) {
        if let Some(client) = ASKED.get() {
            client.add_local("logs", "http://10.0.0.9").unwrap();
            assert!(client.pick("logs").is_some() && !client.services().is_empty());
            let _ = client.status();
        }
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}
    fn enter(&self, _: &tracing::Id) {}
    fn exit(&self, _: &tracing::Id) {}
}

#[test]
fn a_subscriber_of_tracing_may_ask_the_client() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let _default = tracing::subscriber::set_default(Asks);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let link = Faulty::new(Arc::new(Memory::new()));
            let builder = Client::builder(Arc::new(link.clone()));
            let client = builder.register("mail", "http://10.0.0.1").start().await.unwrap();
            assert!(ASKED.set(client.clone()).is_ok());
            link.once(Operation::Watch, DOWN).once(Operation::Register, DOWN);
            sleep(60 * SECOND).await;
            client.shutdown().await.unwrap();
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(60 * SECOND).expect("it deadlocks");
}

/// A waker that calls gosd at once, as that of an executor which polls in place may.
struct AsksAtOnce(Client);

impl Wake for AsksAtOnce {
    fn wake(self: Arc<Self>) {
        self.0.add_local("woken", "http://10.0.0.9").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_ask_the_client() {
    let client = Client::builder(Arc::new(Memory::new())).start().await.unwrap();
    let waker = Waker::from(Arc::new(AsksAtOnce(client.clone())));
    let mut context = Context::from_waker(&waker);
    let mut changes = client.changes();
    let mut statuses = client.status_changes();
    let mut lookup = Box::pin(client.next("mail"));
    while changes.poll_next_unpin(&mut context).is_ready() {}
    while statuses.poll_next_unpin(&mut context).is_ready() {}
    assert!(lookup.as_mut().poll(&mut context).is_pending());
    client.add_local("mail", "http://10.0.0.1").unwrap();
    assert!(client.pick("woken").is_some());
    drop(lookup);
    client.shutdown().await.unwrap();
}

/// A driver that reports when it is dropped, and its connections with it.
struct ReportsItsEnd {
    memory: Memory,
    is_gone: Arc<AtomicBool>,
}

impl Drop for ReportsItsEnd {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Driver for ReportsItsEnd {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.memory.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.memory.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.memory.list().await
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_outlives_the_shutdown_keeps_the_driver() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let driver = ReportsItsEnd { memory: Memory::new(), is_gone: Arc::clone(&is_gone) };
    let client = Client::builder(Arc::new(driver)).start().await.unwrap();
    client.add_local("mail", "http://10.0.0.1").unwrap();
    let mut handle = client.service("mail");
    let streams = (client.changes(), client.status_changes());
    client.shutdown().await.unwrap();
    assert_eq!(tasks().await, 0);
    sleep(MS).await;
    assert!(is_gone.load(Ordering::SeqCst));
    assert!(handle.pick().is_some() && client.pick("mail").is_some());
    drop(streams);
}
