//! The watch: core follows it, backs off when it fails, and reads instead when it is silent.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gosd_core::{
    BoxStream, Client, Driver, Error, ErrorKind, Event, Instance, InstanceId, Memory, Result, View,
    async_trait,
};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, DOWN, INTERVAL, LEASE, MS, NO_TIME, OBJECTION, SECOND, is_stale, is_well, settle,
    soon, until_seen, until_status, urls,
};

/// The shortest interval of reads while the watch is up.
const INSURANCE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn changes_are_seen_at_once() {
    let backend = Backend::new();
    let client = backend.discover().await;
    let begun = Instant::now();
    let id = backend.put_for_long("mail", "http://10.0.0.7").await;
    until_seen(&client, "mail", 1).await;
    backend.memory.deregister(&id).await.unwrap();
    until_seen(&client, "mail", 0).await;
    assert_eq!(begun.elapsed(), NO_TIME);
    let lease = 20 * SECOND;
    backend.put("mail", "http://10.0.0.7", lease).await;
    until_seen(&client, "mail", 1).await;
    until_seen(&client, "mail", 0).await;
    assert!(begun.elapsed().abs_diff(lease + OBJECTION) <= MS);
    assert_eq!(backend.link.calls(Operation::List), 0);
}

#[tokio::test(start_paused = true)]
async fn with_a_watch_everything_is_read_only_rarely() {
    let backend = Backend::new();
    let client = backend.discover().await;
    let begun = Instant::now();
    let mut times = vec![begun];
    times.extend(backend.times(Operation::List, 50).await);
    for pair in times.windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(INSURANCE) <= INSURANCE / 10 + MS);
    }
    // A read that fails while the watch is up does not change the contact.
    backend.link.on(Operation::List, DOWN);
    sleep(2 * INSURANCE).await;
    assert!(matches!(client.status().view, View::Fresh));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_opened_again() {
    let backend = Backend::new();
    let client = backend.discover().await;
    for _ in 0..10 {
        backend.link.end_watches();
        until_status(&client, is_stale).await;
        let ended = Instant::now();
        until_status(&client, is_well).await;
        assert!(ended.elapsed() <= 200 * MS, "what was up for long begins with short pauses");
        sleep(LEASE).await;
    }
    assert_eq!(backend.link.calls(Operation::Watch), 11);
    assert_eq!(backend.link.most_at_once(Operation::Watch), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_resumes_has_missed_nothing_and_needs_no_read() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover().await;
    backend.link.on(Operation::Watch, DOWN);
    until_status(&client, is_stale).await;
    backend.put_for_long("mail", "http://10.0.0.2").await;
    backend.link.clear(Operation::Watch);
    let cleared = Instant::now();
    until_status(&client, is_well).await;
    assert!(cleared.elapsed() <= 200 * MS);
    until_seen(&client, "mail", 2).await;
    assert_eq!(backend.link.calls(Operation::Watch), 1, "it was the same stream");
    assert_eq!(backend.link.calls(Operation::List), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_again_yields_what_exists_now() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover().await;
    backend.link.on(Operation::Watch, Fault::FailAfter(ErrorKind::Unavailable));
    until_status(&client, is_stale).await;
    backend.put_for_long("mail", "http://10.0.0.2").await;
    backend.link.clear(Operation::Watch);
    until_status(&client, is_well).await;
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.1", "http://10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_never_yields_is_replaced_by_reading() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    backend.link.on(Operation::Watch, Fault::Hang);
    let begun = Instant::now();
    let client = backend.discover().await;
    assert!(begun.elapsed() <= INTERVAL + INTERVAL / 10 + MS);
    assert!(is_well(&client.status()));
    assert!(client.pick("mail").is_some());
    let times = backend.times(Operation::List, 10).await;
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= INTERVAL + INTERVAL / 10 + MS));
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_is_down_reads_keep_the_view_fresh() {
    let backend = Backend::new();
    let client = backend.discover().await;
    backend.link.on(Operation::Watch, DOWN);
    until_status(&client, is_stale).await;
    let lost = Instant::now();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let status = until_status(&client, is_well).await;
    assert!(lost.elapsed() <= INTERVAL + INTERVAL / 10 + MS, "{status:?}");
    for i in 2..10 {
        backend.put_for_long("mail", &format!("http://10.0.0.{i}")).await;
        sleep(INTERVAL + INTERVAL / 10 + MS).await;
        assert_eq!(client.instances("mail").len(), i);
        assert!(is_well(&client.status()), "the watch fails on, the reads do not");
    }
    // Then the reads fail too.
    backend.link.on(Operation::List, DOWN);
    let status = until_status(&client, is_stale).await;
    let View::Stale { error, .. } = status.view else { unreachable!() };
    assert_eq!(error.operation(), Some("list"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_overtakes_a_read_replaces_the_read() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let client = backend.discover().await;
    sleep(LEASE).await;
    backend.link.once(Operation::List, Fault::HangAfter);
    let refresh = tokio::spawn({
        let client = client.clone();
        async move { client.refresh().await }
    });
    settle().await;
    // The read that is delayed found one instance, and the snapshot has two.
    backend.put_for_long("mail", "http://10.0.0.2").await;
    backend.link.once(Operation::Watch, Fault::FailAfter(ErrorKind::Unavailable));
    until_status(&client, is_stale).await;
    until_status(&client, is_well).await;
    backend.link.clear(Operation::List);
    soon(refresh).await.unwrap().unwrap();
    assert_eq!(client.instances("mail").len(), 2);
    assert_eq!(backend.link.calls(Operation::List), 2, "it was read once more");
}

/// A backend with many simultaneous changes. It records what the client shows whenever the client polls for
/// one.
#[derive(Default)]
struct Flood {
    client: OnceLock<Client>,
    seen: Mutex<Vec<usize>>,
}

const CHANGES: usize = 3_000;

#[async_trait]
impl Driver for Flood {
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
        let changes = stream::iter(0..CHANGES).map(|i| {
            let client = self.client.get().expect("it was given some time");
            self.seen.lock().unwrap().push(client.instances("mail").len());
            Ok(Event::Put(Instance::new("mail", &format!("http://10.0.0.1:{}", i + 1)).unwrap()))
        });
        let start = stream::once(async { Ok(Event::Reset(Vec::new())) });
        let later = stream::once(sleep(SECOND)).filter_map(async |()| None);
        Some(start.chain(later).chain(changes).chain(stream::pending()).boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_ready_together_become_visible_together() {
    let driver = Arc::new(Flood::default());
    let client = Client::builder(driver.clone()).start().await.unwrap();
    assert!(driver.client.set(client.clone()).is_ok());
    until_seen(&client, "mail", CHANGES).await;
    let mut seen = driver.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), CHANGES);
    seen.dedup();
    assert_eq!(seen, [0, 1_024, 2_048]);
}

/// A `Memory` whose watch fails at every poll, and records the time.
#[derive(Default)]
struct Failing {
    memory: Memory,
    polls: Arc<Mutex<Vec<Instant>>>,
}

#[async_trait]
impl Driver for Failing {
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
        let fail = || {
            self.polls.lock().unwrap().push(Instant::now());
            Err(Error::new(ErrorKind::Unavailable, "no watch today"))
        };
        Some(stream::repeat_with(fail).boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_polled_again_after_growing_pauses() {
    let driver = Failing::default();
    let polls = Arc::clone(&driver.polls);
    let _client = Client::builder(Arc::new(driver)).start().await.unwrap();
    sleep(600 * SECOND).await;
    let polls = polls.lock().unwrap();
    let mut bound = Duration::from_millis(200);
    for pair in polls.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(bound / 2 <= pause && pause <= bound + MS, "{pause:?}, not {bound:?}");
        bound = (2 * bound).min(LEASE / 6);
    }
    assert!(polls.len() > 600 / 5, "it never ends");
}
