//! `Both`: registrations, goodbyes and lists reach both databases.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{
    Both, BoxStream, Driver, ErrorKind, Event, Instance, InstanceId, Result, async_trait,
};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, timeout};

use crate::support::{DOWN, LEASE, LONG_LEASE, SECOND, both, mail, named, places};

#[tokio::test(start_paused = true)]
async fn a_registration_and_a_goodbye_reach_both() {
    let (one, other) = places();
    let both = both(&one, &other);
    let it = mail("mail-1");
    both.register(&it, LEASE).await.unwrap();
    assert!(one.has(&it).await && other.has(&it).await);
    both.deregister(it.id()).await.unwrap();
    assert!(!one.has(&it).await && !other.has(&it).await);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_either_is_returned_after_the_other_was_tried() {
    for is_first in [true, false] {
        let (down, up) = places();
        down.link.on_all(DOWN);
        let both = if is_first { both(&down, &up) } else { both(&up, &down) };
        let it = mail("mail-1");
        let error = both.register(&it, LEASE).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some("register")));
        assert!(up.has(&it).await);
        assert!(both.deregister(it.id()).await.is_err());
        assert!(!up.has(&it).await);
        assert!(both.list().await.is_err(), "a part is never the whole list");
    }
}

#[tokio::test(start_paused = true)]
async fn both_are_called_at_the_same_time() {
    let (one, other) = places();
    for place in [&one, &other] {
        for operation in [Operation::Register, Operation::Deregister, Operation::List] {
            place.link.on(operation, Fault::Delay(SECOND));
        }
    }
    let both = both(&one, &other);
    let it = mail("mail-1");
    let begun = Instant::now();
    both.register(&it, LEASE).await.unwrap();
    both.list().await.unwrap();
    both.deregister(it.id()).await.unwrap();
    assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_two_errors_the_one_that_waiting_does_not_mend_is_returned() {
    for is_first in [true, false] {
        let (down, denied) = places();
        down.link.on_all(DOWN);
        denied.link.on_all(Fault::Fail(ErrorKind::Denied));
        let both = if is_first { both(&down, &denied) } else { both(&denied, &down) };
        let error = both.register(&mail("mail-1"), LEASE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_hangs_does_not_delay_the_other() {
    let (hangs, up) = places();
    hangs.link.on_all(Fault::Hang);
    let both = both(&hangs, &up);
    let [stays, leaves] = ["mail-1", "mail-2"].map(mail);
    up.put(&leaves).await;
    assert!(timeout(SECOND, both.register(&stays, LEASE)).await.is_err());
    assert!(timeout(SECOND, both.deregister(leaves.id())).await.is_err());
    assert!(up.has(&stays).await && !up.has(&leaves).await);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registration_does_not_take_effect_after_the_goodbye() {
    let (hangs, up) = places();
    hangs.link.on(Operation::Register, Fault::Hang);
    let both = both(&hangs, &up);
    let it = mail("mail-1");
    assert!(timeout(SECOND, both.register(&it, LEASE)).await.is_err());
    both.deregister(it.id()).await.unwrap();
    hangs.link.clear_all();
    tokio::time::sleep(LEASE).await;
    assert!(!hangs.has(&it).await && !up.has(&it).await);
}

#[tokio::test(start_paused = true)]
async fn a_list_has_each_instance_once_as_the_primary_has_it() {
    let (one, other) = places();
    let [here, old, there] = [mail("mail-1"), named("mail-2", "http://old"), mail("mail-3")];
    let new = named("mail-2", "http://new");
    for instance in [&here, &new] {
        one.put(instance).await;
    }
    for instance in [&old, &there] {
        other.put(instance).await;
    }
    assert_eq!(both(&one, &other).list().await.unwrap(), [here.clone(), new, there.clone()]);
    assert_eq!(both(&other, &one).list().await.unwrap(), [here, old, there]);
}

/// A driver whose every method panics.
struct Panics;

#[async_trait]
impl Driver for Panics {
    async fn register(&self, _: &Instance, _: Duration) -> Result<()> {
        panic!("register")
    }

    async fn deregister(&self, _: &InstanceId) -> Result<()> {
        panic!("deregister")
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        panic!("list")
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        panic!("watch")
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_panics_does_not_stop_the_other() {
    let (up, _) = places();
    let both = Both::new(Arc::new(Panics), Arc::new(up.link.clone()));
    let it = mail("mail-1");
    let error = both.register(&it, LONG_LEASE).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    assert!(up.has(&it).await);
    let mut watch = crate::support::Watch::begun(&both).await;
    watch.loss().await;
    let late = mail("mail-2");
    up.put(&late).await;
    while watch.item().await.ok() != Some(Event::Put(late.clone())) {}
}

#[tokio::test]
async fn an_error_names_its_side_and_the_driver_both() {
    let (one, other) = places();
    let both = both(&one, &other);
    assert_eq!(both.name(), "memory and memory");
    assert_eq!(both.identity(), None, "a registry of which nobody knows which it is");
    other.link.on_all(DOWN);
    let error = both.register(&mail("mail-1"), LEASE).await.unwrap_err();
    assert_eq!(error.driver(), Some("memory"));
}
