//! A client concludes no more from an answer than it says: the living stay in the view, and the dead go.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gosd_core::{Change, Client, Driver, ErrorKind, Instance, Registration, Settings, View};
use gosd_testkit::{Fault, Faulty, Operation};
use tokio::time::{Instant, advance, sleep};

use crate::support::{
    Backend, DOWN, LEASE, MS, SECOND, is_stale, item, settle, soon, until_seen, until_status, urls,
};

const BOTH: [fn() -> Backend; 2] = [Backend::new, Backend::polled];

impl Backend {
    fn elsewhere_polled(&self) -> Self {
        let Self { memory, link } = self.elsewhere();
        Self { memory, link: link.without_watch() }
    }
}

/// Looks ten times a second, and counts the looks that find fewer instances than expected.
async fn misses(client: &Client, service: &str, count: usize, time: Duration) -> usize {
    let mut misses = 0;
    let begun = Instant::now();
    while begun.elapsed() < time {
        sleep(100 * MS).await;
        misses += usize::from(client.instances(service).len() < count);
    }
    misses
}

#[tokio::test(start_paused = true)]
async fn while_writes_are_refused_a_registered_client_loses_nobody() {
    for new in BOTH {
        let backend = new();
        let mail = backend.register("mail", "http://10.0.0.1").await;
        let web = backend.register("web", "http://10.0.0.2").await;
        until_seen(&mail, "web", 1).await;
        until_seen(&web, "mail", 1).await;
        sleep(3 * LEASE).await;
        backend.link.on(Operation::Register, DOWN);
        let long = 20 * LEASE;
        let missed = tokio::join!(
            misses(&mail, "web", 1, long),
            misses(&mail, "mail", 1, long),
            misses(&web, "mail", 1, long),
        );
        assert_eq!(missed, (0, 0, 0));
        backend.link.clear_all();
        assert_eq!(misses(&mail, "web", 1, 2 * LEASE).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_heartbeats_fail_believes_no_expiry() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    let web = backend.register("web", "http://10.0.0.2").await;
    until_seen(&mail, "web", 1).await;
    sleep(3 * LEASE).await;
    backend.link.on(Operation::Register, Fault::Hang).on(Operation::List, Fault::Hang);
    let (mails, webs) =
        tokio::join!(misses(&web, "mail", 1, 3 * LEASE), misses(&mail, "web", 1, 3 * LEASE));
    assert_eq!((mails, webs), (0, 0));
    assert!(matches!(web.status().registration, Registration::Retrying { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_dead_go_while_contact_flaps() {
    // A break once a minute, and several in each lease.
    for (period, bound) in [(60 * SECOND, 3 * LEASE), (10 * SECOND, 5 * LEASE)] {
        let backend = Backend::new();
        let mail = backend.register("mail", "http://10.0.0.1").await;
        let killed = backend.register("mail", "http://10.0.0.2").await;
        let far = backend.elsewhere();
        let user = far.discover().await;
        until_seen(&user, "mail", 2).await;
        let flaps = async {
            loop {
                // One `Err`, and the stream resumes 0.2 s later, so no heartbeat fails.
                sleep(period).await;
                far.link.once(Operation::Watch, DOWN);
            }
        };
        let dies = async {
            sleep(90 * SECOND).await;
            drop(killed);
            let at = Instant::now();
            until_seen(&user, "mail", 1).await;
            at.elapsed()
        };
        let took = tokio::select! {
            () = flaps => unreachable!(),
            took = dies => took,
        };
        assert!(took <= bound, "{took:?}");
        assert_eq!(urls(&user, "mail"), ["http://10.0.0.1"]);
        drop(mail);
    }
}

#[tokio::test(start_paused = true)]
async fn the_dead_go_while_one_poll_in_three_fails() {
    let backend = Backend::polled();
    let _mail = backend.register("mail", "http://10.0.0.1").await;
    let killed = backend.register("mail", "http://10.0.0.2").await;
    let far = backend.elsewhere_polled();
    let user = far.discover().await;
    until_seen(&user, "mail", 2).await;
    let fails = async |link: &Faulty| {
        for poll in 1.. {
            soon(link.called(Operation::List, link.calls(Operation::List) + 1)).await;
            if poll % 3 == 0 {
                link.once(Operation::List, DOWN);
            }
        }
    };
    let dies = async {
        sleep(10 * LEASE).await;
        drop(killed);
        let at = Instant::now();
        until_seen(&user, "mail", 1).await;
        at.elapsed()
    };
    let took = tokio::select! {
        () = fails(&far.link) => unreachable!(),
        took = dies => took,
    };
    assert!(took <= 8 * LEASE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_between_two_polls_drops_nobody() {
    let backend = Backend::polled();
    let other = backend.elsewhere_polled();
    let _one = backend.register("mail", "http://10.0.0.1").await;
    let _two = other.register("mail", "http://10.0.0.2").await;
    let far = backend.elsewhere_polled();
    let user = far.discover_with(Settings::default().refresh_interval(60 * SECOND)).await;
    until_seen(&user, "mail", 2).await;
    sleep(5 * 60 * SECOND).await;
    // Just after a poll of the consumer the database goes away, for longer than the lease.
    soon(far.link.called(Operation::List, far.link.calls(Operation::List) + 1)).await;
    let links = [&backend.link, &other.link, &far.link];
    for link in links {
        link.on_all(DOWN);
    }
    assert_eq!(misses(&user, "mail", 2, 40 * SECOND).await, 0);
    // One instance registers again before the next poll, and the other, which also lives, after it.
    far.link.clear_all();
    backend.link.clear_all();
    soon(far.link.called(Operation::List, far.link.calls(Operation::List) + 1)).await;
    sleep(SECOND).await;
    other.link.clear_all();
    assert_eq!(misses(&user, "mail", 2, 60 * SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_freeze_of_all_is_not_the_death_of_all() {
    let backend = Backend::new();
    let _mail = backend.register("mail", "http://10.0.0.1").await;
    let user = backend.discover().await;
    until_seen(&user, "mail", 1).await;
    sleep(3 * LEASE).await;
    // The provider wakes more slowly than the consumer.
    backend.link.on(Operation::Register, Fault::Delay(SECOND));
    advance(2 * LEASE).await;
    assert_eq!(misses(&user, "mail", 1, 2 * LEASE).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_frozen_registers_again_within_two_seconds() {
    for new in BOTH {
        let backend = new();
        let mail = backend.register("mail", "http://10.0.0.1").await;
        sleep(3 * LEASE).await;
        advance(2 * LEASE).await;
        sleep(2 * SECOND).await;
        assert!(backend.holds(mail.id().unwrap()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn staleness_is_counted_from_the_last_contact() {
    for interval in [5, 60, 600] {
        let backend = Backend::polled();
        backend.put_for_long("mail", "http://10.0.0.1").await;
        let limit = 10 * SECOND;
        let settings = Settings::default().refresh_interval(interval * SECOND).max_stale(limit);
        let client = backend.discover_with(settings).await;
        // A healthy view is never too old, because the client reads as often as necessary.
        assert_eq!(misses(&client, "mail", 1, 120 * SECOND).await, 0);
        soon(backend.link.called(Operation::List, backend.link.calls(Operation::List) + 1)).await;
        sleep(MS).await;
        assert!(client.pick("mail").is_some());
        let heard = Instant::now();
        backend.link.on_all(Fault::Hang);
        while client.pick("mail").is_some() {
            sleep(10 * MS).await;
        }
        assert!(heard.elapsed().abs_diff(limit) <= 20 * MS, "{:?}", heard.elapsed());
        let View::Stale { since, .. } = until_status(&client, is_stale).await.view else {
            unreachable!()
        };
        assert!(heard.into_std().duration_since(since) <= 10 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_older_than_the_last_read_drops_nobody() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.1").await;
    let far = backend.elsewhere();
    let user = far.discover().await;
    far.link.on(Operation::Watch, Fault::FailAfter(ErrorKind::Unavailable));
    until_status(&user, is_stale).await;
    sleep(60 * SECOND).await;
    assert!(matches!(user.status().view, View::Fresh), "kept by reads");
    // Transport takes 6 s on this link, as for the snapshot of a large registry.
    far.link.on(Operation::Watch, Fault::Delay(6 * SECOND));
    sleep(5 * SECOND).await;
    backend.put_for_long("web", "http://10.0.0.2").await;
    until_seen(&user, "web", 1).await;
    assert_eq!(misses(&user, "web", 1, 60 * SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wipe_drops_nobody_from_a_client_that_only_discovers() {
    let watch_is_down = || {
        let backend = Backend::new();
        backend.link.on(Operation::Watch, Fault::FailAfter(ErrorKind::Unavailable));
        backend
    };
    for new in [Backend::new, Backend::polled, watch_is_down] {
        for tenths in [0, 7, 19, 33, 49] {
            let backend = new();
            let mut mails = Vec::new();
            for i in 0..5 {
                mails.push(backend.register("mail", &format!("http://10.0.0.{i}")).await);
            }
            let user = backend.discover().await;
            until_seen(&user, "mail", 5).await;
            sleep(3 * LEASE + tenths * 100 * MS).await;
            backend.memory.wipe();
            // One instance registers again before the watchers run.
            let first = mails[0].instances("mail")[0].clone();
            backend.memory.register(&first, LEASE).await.unwrap();
            assert_eq!(misses(&user, "mail", 5, 2 * LEASE).await, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_lost_heartbeat_ends_no_lease() {
    for secs in [2, 3, 5, 7, 15] {
        let backend = Backend::new();
        let settings = Settings::default().lease_ttl(secs * SECOND).timeout(2 * SECOND);
        let builder = backend.builder().register("mail", "http://10.0.0.7");
        let _mail = builder.settings(settings.clone()).start().await.unwrap();
        let user = backend.elsewhere().discover_with(settings).await;
        sleep(10 * secs * SECOND).await;
        for _ in 0..20 {
            // Two calls in a row get no answer. The next would succeed at once.
            backend.link.once(Operation::Register, Fault::Hang);
            backend.link.once(Operation::Register, Fault::Hang);
            let mut changes = user.changes();
            item(&mut changes).await;
            let gone = tokio::time::timeout(2 * secs * SECOND, async {
                while !matches!(item(&mut changes).await.unwrap(), Change::Removed(_)) {}
            });
            assert!(gone.await.is_err(), "with a lease of {secs} s");
        }
    }
}

/// Nothing else would look for it before the insurance read, twelve hours later.
#[tokio::test(start_paused = true)]
async fn an_expiry_that_is_no_longer_believed_is_looked_into() {
    let backend = Backend::new();
    let settings = Settings::default().refresh_interval(3_600 * SECOND);
    let builder = backend.builder().settings(settings).register("web", "http://10.0.0.2");
    let web = soon(builder.start()).await.unwrap();
    backend.put("mail", "http://10.0.0.1", LEASE).await;
    until_seen(&web, "mail", 1).await;
    sleep(LEASE).await;
    settle().await;
    assert_eq!(web.instances("mail").len(), 1, "its owner may object");
    backend.link.once(Operation::Register, DOWN);
    assert!(web.set_metadata(BTreeMap::new()).await.is_err());
    sleep(LEASE).await;
    assert!(web.instances("mail").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_after_a_freeze_drops_nobody_who_is_back() {
    let backend = Backend::new();
    let client = backend.discover().await;
    sleep(3 * LEASE).await;
    let mail = Instance::new("mail", "http://10.0.0.1").unwrap();
    backend.memory.register(&mail, LEASE).await.unwrap();
    until_seen(&client, "mail", 1).await;
    let mut changes = client.changes();
    item(&mut changes).await;
    sleep(LEASE).await;
    settle().await;
    assert_eq!(client.instances("mail").len(), 1, "its owner may object");
    // The client hears of nothing more until the freeze is over.
    backend.memory.register(&mail, 10 * LEASE).await.unwrap();
    let mut refresh = Box::pin(client.refresh());
    assert!((&mut refresh).now_or_never().is_none());
    advance(LEASE).await;
    refresh.await.unwrap();
    settle().await;
    assert_eq!(client.instances("mail").len(), 1);
    while let Some(change) = changes.next().now_or_never() {
        assert!(!matches!(change, Some(Change::Removed(_))), "{change:?}");
    }
}
