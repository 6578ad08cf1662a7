//! Calls that reach the server after those that were made later, by another connection.

use gosd_core::Instance;
use gosd_testservers::{Proxy, RedisServer, late_registrations_undo_nothing};

use super::support::{LONG_LEASE, instance, open};

#[tokio::test]
async fn late_registrations() {
    let server = RedisServer::start(&[]).await;
    late_registrations_undo_nothing(async || {
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

#[tokio::test]
async fn what_is_remembered_is_forgotten_after_a_while() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let own = instance("mail");
    driver.register(&own, LONG_LEASE).await.unwrap();
    driver.deregister(own.id()).await.unwrap();
    let mut redis = server.connect(None).await;
    let said = format!("{{gosd}}:said:{}", own.id());
    let left: i64 = redis::cmd("TTL").arg(&said).query_async(&mut redis).await.unwrap();
    assert!((1..=60).contains(&left), "{left}");
}
