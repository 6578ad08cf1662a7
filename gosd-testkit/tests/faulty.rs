//! `Faulty`: the effect of each fault on calls and on watches.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use gosd_core::{Driver, ErrorKind, Event, Instance, InstanceId, Memory, Result, async_trait};
use gosd_testkit::{Fault, Faulty, Operation};
use tokio::time::{Instant, timeout};

const LEASE: Duration = Duration::from_secs(3_600);
const WHILE: Duration = Duration::from_secs(60);
const DOWN: Fault = Fault::Fail(ErrorKind::Unavailable);

fn mail() -> Instance {
    Instance::new("mail", "http://10.0.0.7:25").unwrap()
}

fn faulty() -> (Faulty, Memory) {
    let memory = Memory::new();
    (Faulty::new(Arc::new(memory.clone())), memory)
}

/// The next item, awaited for longer than any item here takes.
async fn next(watch: &mut (impl Stream<Item = Result<Event>> + Unpin)) -> Option<Result<Event>> {
    timeout(2 * WHILE, watch.next()).await.expect("an item, or the end")
}

#[tokio::test(start_paused = true)]
async fn calls_fail_before_or_after_their_effect() {
    let (faulty, memory) = faulty();
    faulty.once(Operation::Register, DOWN);
    faulty.once(Operation::Register, Fault::FailAfter(ErrorKind::Timeout));
    let error = faulty.register(&mail(), LEASE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(memory.list().await.unwrap().is_empty());
    let error = faulty.register(&mail(), LEASE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(memory.list().await.unwrap().len(), 1);
    faulty.register(&mail(), LEASE).await.unwrap();
    assert_eq!(memory.list().await.unwrap().len(), 2);
    assert_eq!(faulty.calls(Operation::Register), 3);
}

#[tokio::test(start_paused = true)]
async fn a_standing_fault_comes_after_those_in_line_and_ends_when_cleared() {
    let (faulty, _) = faulty();
    faulty.on_all(DOWN).once(Operation::List, Fault::Fail(ErrorKind::Denied));
    assert_eq!(faulty.list().await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(faulty.list().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(faulty.deregister(mail().id()).await.is_err());
    faulty.clear(Operation::List);
    assert!(faulty.list().await.is_ok());
    assert!(faulty.deregister(mail().id()).await.is_err());
    faulty.clear_all();
    assert!(faulty.deregister(mail().id()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_takes_as_long_as_the_delay() {
    let (faulty, _) = faulty();
    faulty.on(Operation::List, Fault::Delay(WHILE));
    let begun = Instant::now();
    faulty.list().await.unwrap();
    assert_eq!(begun.elapsed(), WHILE);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_takes_effect_when_cleared_or_never_if_dropped() {
    let (faulty, memory) = faulty();
    let (kept, dropped) = (mail(), mail());
    faulty.on(Operation::Register, Fault::Hang);
    assert!(timeout(WHILE, faulty.register(&dropped, LEASE)).await.is_err());
    let clear = async {
        faulty.called(Operation::Register, 2).await;
        assert_eq!(faulty.under_way(Operation::Register), 1);
        assert!(memory.list().await.unwrap().is_empty());
        faulty.clear(Operation::Register);
    };
    let call = timeout(2 * WHILE, faulty.register(&kept, LEASE));
    let (result, ()) = tokio::join!(call, clear);
    result.expect("an answer").unwrap();
    assert_eq!(memory.list().await.unwrap(), [kept]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_after_its_effect_returns_when_cleared() {
    let (faulty, memory) = faulty();
    faulty.once(Operation::Register, Fault::HangAfter);
    assert!(timeout(WHILE, faulty.register(&mail(), LEASE)).await.is_err());
    assert_eq!(memory.list().await.unwrap().len(), 1);
    // The fault does not concern the next call.
    faulty.register(&mail(), LEASE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_at_once_are_counted() {
    let (faulty, _) = faulty();
    faulty.on(Operation::List, Fault::Delay(WHILE));
    let other = faulty.clone();
    let (first, second) = tokio::join!(faulty.list(), other.list());
    assert!(first.is_ok() && second.is_ok());
    faulty.list().await.unwrap();
    assert_eq!(faulty.calls(Operation::List), 3);
    assert_eq!(faulty.most_at_once(Operation::List), 2);
    assert_eq!(faulty.under_way(Operation::List), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_fails_and_resumes_without_a_gap() {
    let (faulty, memory) = faulty();
    let mut watch = faulty.watch().unwrap();
    assert_eq!(next(&mut watch).await.unwrap().unwrap(), Event::Reset(Vec::new()));
    // The fault reaches a reader that is already waiting.
    let (item, _) = tokio::join!(next(&mut watch), async { faulty.on(Operation::Watch, DOWN) });
    assert_eq!(item.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    let missed = mail();
    memory.register(&missed, LEASE).await.unwrap();
    assert!(next(&mut watch).await.unwrap().is_err());
    faulty.clear(Operation::Watch);
    assert_eq!(next(&mut watch).await.unwrap().unwrap(), Event::Resumed);
    assert_eq!(next(&mut watch).await.unwrap().unwrap(), Event::Put(missed));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_loses_items_begins_again_with_a_reset() {
    let (faulty, memory) = faulty();
    let mut watch = faulty.watch().unwrap();
    next(&mut watch).await.unwrap().unwrap();
    let begins_again = Fault::FailAfter(ErrorKind::Unavailable);
    let (item, _) = tokio::join!(next(&mut watch), async {
        faulty.once(Operation::Watch, begins_again);
    });
    assert!(item.unwrap().is_err());
    let missed = mail();
    memory.register(&missed, LEASE).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().unwrap(), Event::Reset(vec![missed]));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_opened_without_contact_begins_with_a_reset() {
    let (faulty, _) = faulty();
    faulty.on(Operation::Watch, DOWN);
    let mut watch = faulty.watch().unwrap();
    assert!(next(&mut watch).await.unwrap().is_err());
    faulty.clear(Operation::Watch);
    assert_eq!(next(&mut watch).await.unwrap().unwrap(), Event::Reset(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_silent_while_it_hangs() {
    let (faulty, memory) = faulty();
    let mut watch = faulty.watch().unwrap();
    next(&mut watch).await.unwrap().unwrap();
    let held = mail();
    faulty.once(Operation::Watch, Fault::Hang);
    memory.register(&held, LEASE).await.unwrap();
    assert!(timeout(WHILE, watch.next()).await.is_err());
    // A change of another call's count wakes the stream, which stays silent.
    faulty.list().await.unwrap();
    assert!(timeout(WHILE, watch.next()).await.is_err());
    faulty.clear(Operation::Watch);
    assert_eq!(watch.next().now_or_never().unwrap().unwrap().unwrap(), Event::Put(held));
}

#[tokio::test(start_paused = true)]
async fn a_delay_holds_the_items_of_a_watch_back() {
    let (faulty, memory) = faulty();
    let mut watch = faulty.watch().unwrap();
    next(&mut watch).await.unwrap().unwrap();
    faulty.once(Operation::Watch, Fault::Delay(WHILE));
    assert!(watch.next().now_or_never().is_none());
    faulty.list().await.unwrap();
    for _ in 0..2 {
        memory.register(&mail(), LEASE).await.unwrap();
    }
    let begun = Instant::now();
    assert!(matches!(next(&mut watch).await, Some(Ok(Event::Put(_)))));
    assert_eq!(begun.elapsed(), WHILE);
    assert!(watch.next().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_are_opened_again() {
    let (faulty, _) = faulty();
    let mut watch = faulty.watch().unwrap();
    next(&mut watch).await.unwrap().unwrap();
    let (item, _) = tokio::join!(next(&mut watch), async { faulty.end_watches() });
    assert!(item.is_none());
    drop(watch);
    assert_eq!(faulty.under_way(Operation::Watch), 0);
    let mut watch = faulty.watch().unwrap();
    assert_eq!(next(&mut watch).await.unwrap().unwrap(), Event::Reset(Vec::new()));
    assert_eq!(faulty.calls(Operation::Watch), 2);
}

#[tokio::test]
async fn a_polled_driver_has_no_watch() {
    let (faulty, _) = faulty();
    assert!(faulty.without_watch().watch().is_none());
}

#[tokio::test]
async fn it_is_of_the_registry_that_it_is_around() {
    struct Named(Memory);

    #[async_trait]
    impl Driver for Named {
        async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
            self.0.register(instance, ttl).await
        }

        async fn deregister(&self, id: &InstanceId) -> Result<()> {
            self.0.deregister(id).await
        }

        async fn list(&self) -> Result<Vec<Instance>> {
            self.0.list().await
        }

        fn identity(&self) -> Option<&str> {
            Some("production")
        }
    }

    // Otherwise it would refuse the snapshot file that its driver wrote.
    let faulty = Faulty::new(Arc::new(Named(Memory::new())));
    assert_eq!(faulty.identity(), Some("production"));
}
