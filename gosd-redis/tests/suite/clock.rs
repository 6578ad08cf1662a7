//! The server's wall clock is set while all instances live.

use std::time::{Duration, Instant};

use gosd_core::Event;
use gosd_testservers::{RedisServer, WallClock, Watch};

use super::support::{instance, open, set_end};

const HOUR: i64 = 3_600;
const LEASE: Duration = Duration::from_secs(4);

/// The clock is set forward, so the leases of living instances are over at once.
#[tokio::test]
async fn set_forward_nobody_dies() {
    let clock = WallClock::ahead_by(0).await;
    let server = RedisServer::start_with_clock(&clock, &[]).await;
    let driver = open(&server.url()).await;
    let living = [instance("a"), instance("b")];
    for instance in &living {
        driver.register(instance, LEASE).await.unwrap();
    }
    let (mut watch, _) = Watch::start(&*driver).await;
    // Until the driver knows the server's clock.
    assert_eq!(driver.list().await.unwrap().len(), 2);
    clock.set(HOUR);
    let error = watch.next().await.unwrap_err();
    assert!(error.to_string().contains("set forward"), "{error}");
    assert_eq!(driver.list().await.unwrap().len(), 2, "they may live");

    // A process that knows nothing of the time before may remove dead instances.
    let late = open(&server.url()).await;
    let (mut unknowing, _) = Watch::start(&*late).await;
    let first = tokio::time::timeout(LEASE / 4, unknowing.next()).await;
    assert!(first.is_err(), "{first:?}");
    for instance in &living {
        driver.register(instance, LEASE).await.unwrap();
    }
    nobody_leaves(&mut watch, Instant::now() + LEASE / 2).await;
    // From here on an expired lease belongs to a dead instance.
    assert!(
        matches!(until_gone(&mut watch).await, Event::Expire(id) if living.iter().any(|it| *it.id() == id))
    );
}

/// The clock ran ahead and is set back, so the earlier leases are an hour too long.
#[tokio::test]
async fn set_back_the_dead_go_in_time() {
    let clock = WallClock::ahead_by(HOUR).await;
    let server = RedisServer::start_with_clock(&clock, &[]).await;
    let driver = open(&server.url()).await;
    let [dead, living] = [instance("dead"), instance("living")];
    driver.register(&dead, LEASE).await.unwrap();
    driver.register(&living, LEASE).await.unwrap();
    // Somebody gave it no end, which says nothing of how long the others' leases are.
    let pinned = instance("pinned");
    driver.register(&pinned, LEASE).await.unwrap();
    set_end(&server, &pinned, "+inf").await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let renewals = async {
        loop {
            driver.register(&living, LEASE).await.unwrap();
            tokio::time::sleep(LEASE / 4).await;
        }
    };
    let followed = async {
        driver.list().await.unwrap();
        let begin = Instant::now();
        clock.set(0);
        let error = watch.next().await.unwrap_err();
        assert!(error.to_string().contains("set back"), "{error}");
        assert_eq!(until_gone(&mut watch).await, Event::Expire(dead.id().clone()));
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        let mut left = driver.list().await.unwrap();
        left.sort_by(|a, b| a.service().cmp(b.service()));
        assert_eq!(left, [living.clone(), pinned.clone()]);
    };
    tokio::select! {
        () = renewals => {}
        () = followed => {}
    }
}

async fn nobody_leaves(watch: &mut Watch<'_>, until: Instant) {
    let watching = async {
        loop {
            match watch.event().await {
                Event::Put(_) | Event::Resumed => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let _ = tokio::time::timeout(until.saturating_duration_since(Instant::now()), watching).await;
}

/// The first event that removes an instance.
async fn until_gone(watch: &mut Watch<'_>) -> Event {
    loop {
        match watch.event().await {
            Event::Put(_) | Event::Resumed => {}
            other => return other,
        }
    }
}
