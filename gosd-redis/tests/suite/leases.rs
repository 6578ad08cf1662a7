//! Leases whose end somebody has set by hand.

use std::time::Duration;

use gosd_core::Event;
use gosd_testservers::{RedisServer, Watch};

use super::support::{LONG_LEASE, calls, instance, open, set_end};

/// Such as by an operator who wants an instance to stay.
#[tokio::test]
async fn a_lease_without_an_end_is_looked_after_no_more_often() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    for end in ["+inf", "1e300"] {
        let pinned = instance("mail");
        driver.register(&pinned, LONG_LEASE).await.unwrap();
        set_end(&server, &pinned, end).await;
    }
    let (mut watch, all) = Watch::start(&*driver).await;
    assert_eq!(all.len(), 2);
    let mut redis = server.connect(None).await;
    let before = calls(&mut redis, "exec").await;
    let quiet = tokio::time::timeout(Duration::from_secs(2), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // One follows the snapshot, and the next comes after five seconds.
    let looks = calls(&mut redis, "exec").await - before;
    assert!(looks <= 2, "{looks}");
}

#[tokio::test]
async fn a_lease_that_was_ended_by_hand_has_ended() {
    let lease = Duration::from_secs(2);
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let ended = [instance("a"), instance("b"), instance("c")];
    for instance in &ended {
        driver.register(instance, lease).await.unwrap();
    }
    let (mut watch, _) = Watch::start(&*driver).await;
    for (instance, end) in ended.iter().zip(["0", "-1", "-inf"]) {
        set_end(&server, instance, end).await;
    }
    for _ in &ended {
        let told = tokio::time::timeout(Duration::from_secs(20), watch.event()).await;
        let told = told.expect("the watch tells of it");
        assert!(ended.iter().any(|it| told == Event::Expire(it.id().clone())), "{told:?}");
    }
    assert_eq!(driver.list().await.unwrap(), []);
}
