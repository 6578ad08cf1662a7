//! Calls that reach the server after those that were made later, by another connection.

use std::time::Duration;

use gosd_core::{ErrorKind, Event, Instance};
use gosd_testservers::{Mode, Proxy, RedisCluster, RedisServer, Watch, late_calls_undo_nothing};
use redis::AsyncCommands;

use super::support::{LONG_LEASE, instance, open};

const LEASE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn late_calls() {
    let server = RedisServer::start(&[]).await;
    late_calls_undo_nothing(async || {
        let proxy = Proxy::to(server.port()).await;
        let driver = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
        (proxy, driver)
    })
    .await;
}

/// Each driver has its own order of calls, which says nothing of another's.
#[tokio::test]
async fn another_process_may_register_what_one_has_deregistered() {
    let server = RedisServer::start(&[]).await;
    let [one, other] = [open(&server.url()).await, open(&server.url()).await];
    let own = Instance::from_parts("mail-7".into(), "mail", "http://h", [].into());
    for _ in 0..3 {
        one.register(&own, LONG_LEASE).await.unwrap();
    }
    one.deregister(own.id()).await.unwrap();
    other.register(&own, LONG_LEASE).await.unwrap();
    assert_eq!(one.list().await.unwrap(), [own]);
}

/// While every call is answered there is nothing to remember.
#[tokio::test]
async fn fences_are_made_only_after_a_call_without_an_answer_and_for_a_while() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let driver = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let mut redis = server.connect(None).await;
    let own = instance("mail");
    let fence = format!("{{gosd}}:fence:{}", own.id());
    driver.register(&own, LONG_LEASE).await.unwrap();
    driver.deregister(own.id()).await.unwrap();
    driver.register(&own, LONG_LEASE).await.unwrap();
    assert_eq!(redis.exists(&fence).await, Ok(false));
    proxy.set(Mode::Silent);
    let call = driver.register(&own, LONG_LEASE);
    tokio::time::timeout(Duration::from_millis(10), call).await.unwrap_err();
    proxy.set(Mode::Heal);
    driver.register(&own, LONG_LEASE).await.unwrap();
    let left: i64 = redis.ttl(&fence).await.unwrap();
    assert!((1..=120).contains(&left), "{left}");
}

/// While a cluster moves a slot, its node refuses whatever names a key that is not there, such as a fence. Then
/// nobody can renew, so nobody may be removed.
#[tokio::test]
async fn while_a_slot_is_moved_nobody_expires() {
    let cluster = RedisCluster::start().await;
    let url = format!("redis+cluster://{}", cluster.hosts());
    let (driver, reader) = (open(&url).await, open(&url).await);
    // With metadata, so that all keys but the fence are there.
    let own = instance("mail").with_metadata("zone", "b");
    driver.register(&own, LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*reader).await;
    let mut nodes = Vec::new();
    for node in cluster.nodes() {
        let mut redis = node.connect(None).await;
        let has_it = redis.exists::<_, bool>("gosd").await.is_ok();
        let id: String = redis::cmd("CLUSTER").arg("MYID").query_async(&mut redis).await.unwrap();
        nodes.push((has_it, id, redis));
    }
    nodes.sort_by_key(|(has_it, ..)| !has_it);
    let other = nodes[1].1.clone();
    let owner = &mut nodes[0].2;
    let slot: u16 =
        redis::cmd("CLUSTER").arg("KEYSLOT").arg("gosd").query_async(owner).await.unwrap();
    let mut moves = redis::cmd("CLUSTER");
    moves.arg("SETSLOT").arg(slot).arg("MIGRATING").arg(other).exec_async(owner).await.unwrap();
    assert!(driver.register(&own, LEASE).await.is_err());
    // The lease runs out meanwhile.
    let error = watch.next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    tokio::time::sleep(2 * LEASE).await;
    assert!(reader.list().await.is_err());
    let mut stays = redis::cmd("CLUSTER");
    stays.arg("SETSLOT").arg(slot).arg("STABLE").exec_async(owner).await.unwrap();
    driver.register(&own, LONG_LEASE).await.unwrap();
    loop {
        match watch.next().await {
            Err(_) | Ok(Event::Resumed | Event::Reset(_)) => {}
            Ok(event) => break assert_eq!(event, Event::Put(own)),
        }
    }
}
