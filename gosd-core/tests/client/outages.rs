//! An outage of the backend is not an outage of the services.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gosd_core::{Change, Client, ErrorKind, Registration, Status, View};
use gosd_testkit::Operation;
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, DOWN, INTERVAL, LEASE, MS, NO_TIME, OBJECTION, SECOND, is_stale, is_well, item,
    until_seen, until_status, urls,
};

/// Waits, and fails if anything leaves the client's view meanwhile.
async fn nothing_leaves(client: &Client, time: Duration) {
    let mut changes = client.changes();
    let left = async {
        while let Some(change) = changes.next().await {
            assert!(!matches!(change, Change::Removed(_)), "{change:?}");
        }
    };
    assert!(tokio::time::timeout(time, left).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_an_outage_and_its_end() {
    for backend in [Backend::new(), Backend::polled()] {
        let client = backend.register("mail", "http://10.0.0.7").await;
        let mut statuses = client.status_changes();
        assert!(is_well(&item(&mut statuses).await.unwrap()));
        sleep(100 * LEASE).await;
        assert!(statuses.next().now_or_never().is_none(), "heartbeats change no status");

        backend.link.on_all(DOWN);
        let begun = Instant::now();
        let status = until_status(&client, |status| {
            is_stale(status) && matches!(status.registration, Registration::Retrying { .. })
        })
        .await;
        assert!(begun.elapsed() <= 2 * INTERVAL, "{:?}", begun.elapsed());
        let View::Stale { since, error } = status.view else { unreachable!() };
        assert_eq!((error.kind(), error.driver()), (ErrorKind::Unavailable, Some("memory")));
        // A read makes contact with its last answer, a watch at most 10 s before the failure.
        assert!(since <= begun.into_std() && begun.into_std() - since <= 2 * INTERVAL);
        assert!(item(&mut statuses).await.is_some());

        sleep(100 * LEASE).await;
        let View::Stale { since: still, .. } = client.status().view else { panic!() };
        assert_eq!(still, since, "it is the same outage");
        while statuses.next().now_or_never().is_some() {}
        sleep(100 * LEASE).await;
        assert!(
            statuses.next().now_or_never().is_none(),
            "the same failure again changes no status"
        );
        assert!(client.pick("mail").is_some());

        backend.link.clear_all();
        let back = Instant::now();
        until_status(&client, is_well).await;
        assert!(back.elapsed() <= INTERVAL + INTERVAL / 10 + MS);
        client.shutdown().await.unwrap();
        let mut last = None;
        while let Some(status) = item(&mut statuses).await {
            last = Some(status);
        }
        let last = last.unwrap();
        assert!(matches!(last.registration, Registration::Left));
        let View::Stale { error, .. } = last.view else { panic!("{:?}", last.view) };
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

/// A status as two words, one for the registration and one for the view.
fn words(status: &Status) -> (&'static str, &'static str) {
    let registration = match &status.registration {
        Registration::DiscoverOnly => "discovers",
        Registration::Registered => "registered",
        Registration::Retrying { .. } => "retrying",
        Registration::Standalone { .. } => "standalone",
        Registration::Left => "left",
        other => panic!("{other:?}"),
    };
    let view = match &status.view {
        View::Unknown => "unknown",
        View::Fresh => "fresh",
        View::Stale { .. } => "stale",
        other => panic!("{other:?}"),
    };
    (registration, view)
}

#[tokio::test(start_paused = true)]
async fn status_changes_show_every_step_of_a_client_s_life() {
    for backend in [Backend::new(), Backend::polled()] {
        backend.link.on_all(DOWN);
        let begun = Instant::now();
        let client = backend.register("mail", "http://10.0.0.7").await;
        let mut statuses = client.status_changes();
        let first = item(&mut statuses).await.unwrap();
        assert_eq!(words(&first), ("standalone", "unknown"));
        let Registration::Standalone { since, error } = first.registration else { unreachable!() };
        assert!(since <= Instant::now().into_std() && since >= begun.into_std());
        assert_eq!(error.operation(), Some("register"));

        // All statuses on the way, until the client has the one that is expected.
        let mut until = async |goal| {
            let mut told = Vec::new();
            while told.last() != Some(&goal) {
                let status = item(&mut statuses).await.unwrap();
                if let View::Stale { error, .. } = &status.view {
                    assert!(["list", "watch"].contains(&error.operation().unwrap()), "{error}");
                }
                if let Registration::Retrying { error, .. } = &status.registration {
                    assert_eq!(error.operation(), Some("register"));
                }
                told.push(words(&status));
            }
            told
        };
        backend.link.clear_all();
        let told = until(("registered", "fresh")).await;
        let between = [("registered", "unknown"), ("standalone", "fresh")];
        assert!(told.len() <= 2 && between.contains(&told[0]) || told.len() == 1, "{told:?}");

        for _ in 0..2 {
            backend.link.on_all(DOWN);
            let told = until(("retrying", "stale")).await;
            let between = [("registered", "stale"), ("retrying", "fresh")];
            assert!(told.len() == 1 || told.len() == 2 && between.contains(&told[0]), "{told:?}");
            backend.link.clear_all();
            let told = until(("registered", "fresh")).await;
            assert!(told.len() == 1 || told.len() == 2 && between.contains(&told[0]), "{told:?}");
        }
        client.leave().await.unwrap();
        assert_eq!(until(("left", "fresh")).await.len(), 1);
        client.shutdown().await.unwrap();
        assert_eq!(words(&item(&mut statuses).await.unwrap()), ("left", "stale"));
        assert!(item(&mut statuses).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_database_empties_no_cache() {
    for new in [Backend::new, Backend::polled] {
        // A view whose contact is not good yet, and one whose contact is.
        for age in [SECOND, 3 * LEASE] {
            let backend = new();
            let mail = backend.register("mail", "http://10.0.0.1").await;
            let web = backend.register("web", "http://10.0.0.2").await;
            let orphan = backend.put_for_long("web", "http://10.0.0.3").await;
            let user = backend.discover().await;
            for client in [&mail, &web, &user] {
                until_seen(client, "web", 2).await;
            }
            sleep(age).await;
            backend.memory.wipe();
            // Nobody renews before every client has read.
            backend.link.on(Operation::Register, DOWN);
            for client in [&mail, &web, &user] {
                client.refresh().await.unwrap();
            }
            backend.link.clear(Operation::Register);
            let grace = LEASE / 2 - 10 * MS;
            tokio::join!(
                nothing_leaves(&user, grace),
                nothing_leaves(&mail, grace),
                nothing_leaves(&web, grace),
            );
            for client in [&mail, &web, &user] {
                until_seen(client, "web", 1).await;
                assert_ne!(*client.pick("web").unwrap().id(), orphan);
                assert_eq!(urls(client, "mail"), ["http://10.0.0.1"]);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_lease_empties_no_cache() {
    for new in [Backend::new, Backend::polled] {
        let backend = new();
        let mail = backend.register("mail", "http://10.0.0.1").await;
        let killed = backend.register("mail", "http://10.0.0.2").await;
        let user = backend.discover().await;
        sleep(3 * LEASE).await;
        backend.link.on_all(DOWN);
        drop(killed);
        nothing_leaves(&user, 10 * LEASE).await;
        backend.link.clear_all();
        let back = Instant::now();
        let hold = LEASE / 2 - 10 * MS;
        tokio::join!(nothing_leaves(&user, hold), nothing_leaves(&mail, hold));
        until_seen(&user, "mail", 1).await;
        assert!(back.elapsed() <= LEASE + 2 * INTERVAL, "{:?}", back.elapsed());
        assert_eq!(urls(&user, "mail"), ["http://10.0.0.1"]);
        nothing_leaves(&user, 10 * LEASE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn scaling_to_zero_is_seen_at_once() {
    let backend = Backend::new();
    let mails = [
        backend.register("mail", "http://10.0.0.1").await,
        backend.register("mail", "http://10.0.0.2").await,
    ];
    let user = backend.discover().await;
    let begun = Instant::now();
    for mail in &mails {
        mail.shutdown().await.unwrap();
    }
    until_seen(&user, "mail", 0).await;
    assert_eq!(begun.elapsed(), NO_TIME);
    assert!(user.services().is_empty() && user.pick("mail").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_killed_is_gone_when_its_lease_is_over() {
    for (backend, late) in
        [(Backend::new(), OBJECTION + MS), (Backend::polled(), LEASE + 2 * INTERVAL)]
    {
        let user = backend.discover().await;
        let mail = backend.register("mail", "http://10.0.0.1").await;
        until_seen(&user, "mail", 1).await;
        sleep(3 * LEASE).await;
        drop(mail);
        let killed = Instant::now();
        until_seen(&user, "mail", 0).await;
        assert!(killed.elapsed() <= LEASE + late, "{:?}", killed.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_in_contact_adds_up_over_breaks() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    let user = backend.discover().await;
    sleep(3 * LEASE).await;
    backend.link.on_all(DOWN);
    sleep(2 * LEASE).await;
    drop(mail);
    backend.link.clear_all();
    until_status(&user, is_well).await;
    // Two stretches of contact, of each of which a sixth of a lease does not count.
    sleep(LEASE / 3).await;
    backend.link.on_all(DOWN);
    nothing_leaves(&user, 2 * LEASE).await;
    backend.link.clear_all();
    until_status(&user, is_well).await;
    let back = Instant::now();
    until_seen(&user, "mail", 0).await;
    assert!(back.elapsed() <= LEASE / 2 + SECOND, "{:?}", back.elapsed());
}
