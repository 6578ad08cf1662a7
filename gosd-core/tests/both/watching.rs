//! `Both`: in a watch over two databases, an instance exists as long as one of them has it.

use std::sync::Arc;

use gosd_core::{Both, Driver, ErrorKind, Event};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{
    DOWN, LEASE, LONG_LEASE, Place, SECOND, Watch, all, both, mail, named, places,
};

#[tokio::test(start_paused = true)]
async fn the_first_snapshot_has_the_instances_of_both() {
    let (one, other) = places();
    let [here, there] = ["mail-1", "mail-2"].map(mail);
    one.put(&here).await;
    other.put(&there).await;
    let both = both(&one, &other);
    let mut watch = Watch::open(&both);
    assert_eq!(watch.event().await, all([&here, &there]));
    watch.says_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_waits_for_the_slower_side() {
    let (one, other) = places();
    let [here, there] = ["mail-1", "mail-2"].map(mail);
    one.put(&here).await;
    other.put(&there).await;
    other.link.on(Operation::Watch, Fault::Delay(2 * SECOND));
    let both = both(&one, &other);
    assert_eq!(Watch::open(&both).event().await, all([&here, &there]));
}

#[tokio::test(start_paused = true)]
async fn the_first_snapshot_waits_for_a_silent_side_for_a_bounded_time() {
    let (one, other) = places();
    let [here, there] = ["mail-1", "mail-2"].map(mail);
    one.put(&here).await;
    other.put(&there).await;
    other.link.on(Operation::Watch, Fault::Hang);
    let both = both(&one, &other);
    let mut watch = Watch::open(&both);
    let begun = Instant::now();
    assert_eq!(watch.event().await, all([&here]));
    assert_eq!(watch.loss().await.kind(), ErrorKind::Timeout, "it is not all");
    assert!(begun.elapsed() < 5 * SECOND);
    watch.says_nothing().await;
    other.link.clear_all();
    assert_eq!(watch.event().await, all([&here, &there]));
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_gone_when_neither_has_it() {
    for first_leaves_the_primary in [true, false] {
        let (one, other) = places();
        let it = mail("mail-1");
        for place in [&one, &other] {
            place.put(&it).await;
        }
        let both = both(&one, &other);
        let mut watch = Watch::begun(&both).await;
        let [first, last] = if first_leaves_the_primary { [&one, &other] } else { [&other, &one] };
        first.memory.deregister(it.id()).await.unwrap();
        watch.says_nothing().await;
        last.memory.deregister(it.id()).await.unwrap();
        assert_eq!(watch.event().await, Event::Remove(it.id().clone()), "both were goodbyes");
        watch.says_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_to_the_only_side_that_has_the_instance_counts_at_once() {
    let (one, other) = places();
    let it = mail("mail-1");
    other.put(&it).await;
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    other.memory.deregister(it.id()).await.unwrap();
    assert_eq!(watch.event().await, Event::Remove(it.id().clone()));
}

#[tokio::test(start_paused = true)]
async fn an_expiry_counts_once_the_other_side_no_longer_has_the_instance() {
    let (one, other) = places();
    let it = mail("mail-1");
    one.memory.register(&it, LEASE).await.unwrap();
    other.memory.register(&it, 2 * LEASE).await.unwrap();
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    let begun = Instant::now();
    assert_eq!(watch.event().await, Event::Expire(it.id().clone()));
    assert!(begun.elapsed() >= 2 * LEASE - SECOND, "each side judges its own leases");
}

#[tokio::test(start_paused = true)]
async fn a_loss_on_one_side_and_a_goodbye_to_the_other_are_an_expiry() {
    let (one, other) = places();
    let it = mail("mail-1");
    for place in [&one, &other] {
        place.put(&it).await;
    }
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    one.memory.wipe();
    assert_eq!(watch.event().await, all([&it]), "the other one has it");
    other.memory.deregister(it.id()).await.unwrap();
    assert_eq!(watch.event().await, Event::Expire(it.id().clone()));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_one_side_keeps_the_instances_of_the_other() {
    let (one, other) = places();
    let [lost, shared, there] = ["mail-1", "mail-2", "mail-3"].map(mail);
    for instance in [&lost, &shared] {
        one.put(instance).await;
    }
    for instance in [&shared, &there] {
        other.put(instance).await;
    }
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    one.memory.wipe();
    assert_eq!(watch.event().await, all([&shared, &there]));
    one.put(&lost).await;
    assert_eq!(watch.event().await, Event::Put(lost));
}

#[tokio::test(start_paused = true)]
async fn where_records_differ_the_primary_s_counts_as_long_as_it_exists() {
    let (one, other) = places();
    let [new, old] = ["http://new", "http://old"].map(|url| named("mail-1", url));
    other.put(&old).await;
    let both = both(&one, &other);
    let mut watch = Watch::open(&both);
    assert_eq!(watch.event().await, all([&old]));
    one.put(&new).await;
    assert_eq!(watch.event().await, Event::Put(new.clone()));
    other.put(&named("mail-1", "http://older")).await;
    assert_eq!(watch.event().await, Event::Put(new.clone()), "what is shown stays");
    other.put(&old).await;
    assert_eq!(watch.event().await, Event::Put(new));
    one.memory.deregister(old.id()).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(old));
}

#[tokio::test(start_paused = true)]
async fn a_lost_side_is_an_error_and_changes_of_the_other_still_count() {
    for primary_is_lost in [true, false] {
        let (one, other) = places();
        let (lost, up) = if primary_is_lost { (&one, &other) } else { (&other, &one) };
        let [there, here, late] = ["mail-1", "mail-2", "mail-3"].map(mail);
        lost.put(&there).await;
        up.put(&here).await;
        let both = both(&one, &other);
        let mut watch = Watch::begun(&both).await;
        lost.link.on_all(DOWN);
        assert_eq!(watch.loss().await.kind(), ErrorKind::Unavailable);
        up.put(&late).await;
        up.memory.deregister(here.id()).await.unwrap();
        assert_eq!(watch.event().await, Event::Put(late));
        // The instance may be registered on the side that is lost.
        assert_eq!(watch.event().await, Event::Expire(here.id().clone()));
        watch.loss().await;
        lost.memory.deregister(there.id()).await.unwrap();
        lost.link.clear_all();
        // The lost side goes on where it was, and so does the watch over both.
        assert_eq!(watch.event().await, Event::Remove(there.id().clone()));
        watch.says_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_to_one_side_waits_for_the_other_which_is_away() {
    let (one, other) = places();
    let it = mail("mail-1");
    for place in [&one, &other] {
        place.put(&it).await;
    }
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    other.link.on(Operation::Watch, Fault::Hang);
    one.memory.deregister(it.id()).await.unwrap();
    watch.says_nothing().await;
    other.memory.deregister(it.id()).await.unwrap();
    other.link.clear_all();
    assert_eq!(watch.event().await, Event::Remove(it.id().clone()));
}

#[tokio::test(start_paused = true)]
async fn contact_is_back_when_both_are() {
    let (one, other) = places();
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    for place in [&one, &other] {
        place.link.on_all(DOWN);
    }
    watch.loss().await;
    one.link.clear_all();
    watch.loss().await;
    other.link.clear_all();
    assert_eq!(watch.event().await, Event::Resumed);
    watch.says_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_side_that_ends_is_opened_again_and_the_other_goes_on() {
    let (one, other) = places();
    let [here, there] = ["mail-1", "mail-2"].map(mail);
    one.put(&here).await;
    other.put(&there).await;
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    one.link.end_watches();
    watch.loss().await;
    assert_eq!(watch.event().await, all([&here, &there]));
    assert_eq!(one.link.calls(Operation::Watch), 2);
    assert_eq!(other.link.calls(Operation::Watch), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dropped_ends_both() {
    let (one, other) = places();
    let both = both(&one, &other);
    drop(Watch::begun(&both).await);
    for place in [&one, &other] {
        assert_eq!(place.link.under_way(Operation::Watch), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_without_a_watch_is_polled() {
    let (one, other) = (Place::new(), Place::new());
    let polled = Arc::new(other.link.clone().without_watch());
    let both = Both::new(Arc::new(one.link.clone()), polled).refresh_interval(2 * SECOND);
    let [first, late] = ["mail-1", "mail-2"].map(mail);
    other.put(&first).await;
    let mut watch = Watch::open(&both);
    assert_eq!(watch.event().await, all([&first]));
    other.put(&late).await;
    let begun = Instant::now();
    assert_eq!(watch.event().await, Event::Put(late.clone()));
    assert!(begun.elapsed() < 3 * SECOND);
    // A list does not say why an instance is absent, and neither does the watch over both.
    other.memory.deregister(first.id()).await.unwrap();
    assert_eq!(watch.event().await, all([&late]));
    other.link.on(Operation::List, DOWN);
    watch.loss().await;
    other.link.clear_all();
    assert_eq!(watch.event().await, Event::Resumed);
    other.link.on(Operation::List, Fault::Hang);
    let begun = Instant::now();
    watch.loss().await;
    assert!(begun.elapsed() < 10 * SECOND, "a read is bounded");
}

#[tokio::test(start_paused = true)]
async fn both_sides_without_a_watch_are_polled() {
    let (one, other) = places();
    let [one_link, other_link] =
        [&one, &other].map(|place| Arc::new(place.link.clone().without_watch()));
    let both = Both::new(one_link, other_link);
    let it = mail("mail-1");
    let mut watch = Watch::begun(&both).await;
    both.register(&it, LONG_LEASE).await.unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(watch.event().await, Event::Put(it));
}

#[tokio::test(start_paused = true)]
async fn changes_of_one_side_are_no_contact_with_the_other_that_is_silent() {
    let (lost, up) = places();
    let both = both(&lost, &up);
    let mut watch = Watch::begun(&both).await;
    lost.link.once(Operation::Watch, DOWN);
    watch.loss().await;
    lost.link.on(Operation::Watch, Fault::Hang);
    let late = mail("mail-1");
    up.put(&late).await;
    assert_eq!(watch.event().await, Event::Put(late));
    assert_eq!(watch.loss().await.kind(), ErrorKind::Unavailable);
    watch.says_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn many_changes_without_effect_do_not_delay_one_that_has() {
    let (one, other) = places();
    let many: Vec<_> = (0..600).map(|n| mail(&format!("mail-{n}"))).collect();
    for instance in &many {
        one.put(instance).await;
        other.put(instance).await;
    }
    let both = both(&one, &other);
    let mut watch = Watch::begun(&both).await;
    for instance in &many {
        one.memory.deregister(instance.id()).await.unwrap();
    }
    let late = mail("mail-late");
    one.put(&late).await;
    assert_eq!(watch.event().await, Event::Put(late));
}
