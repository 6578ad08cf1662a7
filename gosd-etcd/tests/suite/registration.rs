//! The keys and the leases of registrations.

use std::slice::from_ref;
use std::time::Duration;

use gosd_core::Event;
use gosd_testservers::{
    EtcdCluster, EtcdServer, Mode, Proxy, Watch, etcd_leader, late_calls_undo_nothing,
};

use super::support::{LONG_LEASE, instance, key, lease, leases, open, open_at};

#[tokio::test]
async fn the_layout_as_written() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail").with_metadata("zone", "b");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let listed = etcd.ctl(&["get", "--prefix", "/"]).await;
    assert_eq!(listed, format!("{}\n{}\n", key(&mail), mail.to_json()));
    let id = lease(&etcd, &mail).await;
    let status = etcd.ctl(&["lease", "timetolive", "--keys", &id]).await;
    assert!(status.contains("granted with TTL(600s)") && status.contains(&key(&mail)), "{status}");

    driver.deregister(mail.id()).await.unwrap();
    assert_eq!(etcd.ctl(&["get", "--prefix", "/"]).await, "");
    assert_eq!(leases(&etcd).await, 0);
}

#[tokio::test]
async fn the_layout_as_read() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let (mut watch, all) = Watch::start(&*driver).await;
    assert_eq!(all, []);
    let mail = instance("mail");
    etcd.ctl(&["put", &key(&mail), &mail.to_json()]).await;
    assert_eq!(watch.event().await, Event::Put(mail.clone()));
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));
    // A goodbye whose second step is missing counts as one.
    etcd.ctl(&["put", &key(&mail), r#"{"gone":true}"#]).await;
    assert_eq!(watch.event().await, Event::Remove(mail.id().clone()));
    assert_eq!(driver.list().await.unwrap(), []);
    etcd.ctl(&["put", &key(&mail), &mail.to_json()]).await;
    assert_eq!(watch.event().await, Event::Put(mail.clone()));
    // A record that is overwritten by an unreadable one is gone for everybody.
    etcd.ctl(&["put", &key(&mail), "damaged"]).await;
    assert_eq!(watch.event().await, Event::Expire(mail.id().clone()));
    assert_eq!(driver.list().await.unwrap(), []);
    etcd.ctl(&["del", &key(&mail)]).await;
    assert_eq!(watch.event().await, Event::Expire(mail.id().clone()));
}

#[tokio::test]
async fn a_heartbeat_writes_nothing_and_keeps_the_lease() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let before = etcd.ctl(&["get", &key(&mail), "-w", "fields"]).await;
    for _ in 0..3 {
        driver.register(&mail, LONG_LEASE).await.unwrap();
    }
    // The output contains the revision of the whole database, and the lease.
    assert_eq!(etcd.ctl(&["get", &key(&mail), "-w", "fields"]).await, before);
}

#[tokio::test]
async fn a_member_that_is_alone_proves_no_heartbeat() {
    let mut cluster = EtcdCluster::start().await;
    let leader = etcd_leader(&cluster.nodes.each_ref()).await;
    let driver = open_at(cluster.nodes[leader].port()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    driver.register(&mail, LONG_LEASE).await.unwrap();
    for (n, node) in cluster.nodes.iter_mut().enumerate() {
        if n != leader {
            node.process().signal("STOP").await;
        }
    }
    // For an election timeout the member still takes itself for the leader.
    let alone =
        tokio::time::timeout(Duration::from_secs(5), driver.register(&mail, LONG_LEASE)).await;
    assert!(!matches!(alone, Ok(Ok(()))), "a member without a majority has proved it");
}

#[tokio::test]
async fn a_heartbeat_restores_what_was_lost() {
    let mut etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();

    // The key is lost; the lease; the key has another lease; all of it.
    etcd.ctl(&["del", &key(&mail)]).await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));

    let id = lease(&etcd, &mail).await;
    etcd.ctl(&["lease", "revoke", &id]).await;
    assert_eq!(driver.list().await.unwrap(), []);
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));

    etcd.ctl(&["put", &key(&mail), "damaged"]).await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));

    etcd.restart_empty().await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));
    assert_ne!(lease(&etcd, &mail).await, "0");
}

#[tokio::test]
async fn whoever_registers_an_id_leaves_no_lease_behind() {
    let etcd = EtcdServer::start(&[]).await;
    let (one, two) = (open_at(etcd.port()).await, open_at(etcd.port()).await);
    let mail = instance("mail");
    for _ in 0..3 {
        one.register(&mail, LONG_LEASE).await.unwrap();
        two.register(&mail, LONG_LEASE).await.unwrap();
    }
    two.register(&mail.clone().with_metadata("zone", "b"), LONG_LEASE * 2).await.unwrap();
    assert_eq!(leases(&etcd).await, 1);
    // A goodbye on behalf of another client leaves none, either.
    one.deregister(mail.id()).await.unwrap();
    assert_eq!(leases(&etcd).await, 0);
}

#[tokio::test]
async fn a_record_that_somebody_deleted_leaves_no_lease_behind() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail");
    for _ in 0..2 {
        driver.register(&mail, LONG_LEASE).await.unwrap();
        assert_eq!(leases(&etcd).await, 1);
        etcd.ctl(&["del", &key(&mail)]).await;
    }
    // A late write has no lease to attach to after the goodbye.
    driver.deregister(mail.id()).await.unwrap();
    assert_eq!(leases(&etcd).await, 0);
}

#[tokio::test]
async fn a_lease_that_others_hang_on_is_left_alone() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let granted = etcd.ctl(&["lease", "grant", "600"]).await;
    let shared = granted.split(' ').nth(1).expect("the id of a lease");
    let [leaves, moves, stays] = ["a", "b", "c"].map(instance);
    for instance in [&leaves, &moves, &stays] {
        etcd.ctl(&["put", "--lease", shared, &key(instance), &instance.to_json()]).await;
    }
    driver.deregister(leaves.id()).await.unwrap();
    driver.register(&moves, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), [moves, stays]);
    assert_eq!(leases(&etcd).await, 2);
}

#[tokio::test]
async fn a_goodbye_removes_what_has_no_lease() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail");
    etcd.ctl(&["put", &key(&mail), &mail.to_json()]).await;
    driver.deregister(mail.id()).await.unwrap();
    assert_eq!(etcd.ctl(&["get", "--prefix", "/"]).await, "");
}

#[tokio::test]
async fn a_lease_is_at_least_what_the_server_grants() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail");
    driver.register(&mail, Duration::from_millis(100)).await.unwrap();
    let id = lease(&etcd, &mail).await;
    let status = etcd.ctl(&["lease", "timetolive", &id]).await;
    assert!(status.contains("granted with TTL(2s)"), "{status}");
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed() {
    let mut etcd = EtcdServer::start(&["--auth-token-ttl", "1"]).await;
    etcd.enable_auth("/gosd/").await;
    let driver = open(&format!("etcd://gosd:p%40ss@127.0.0.1:{}", etcd.port())).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    // Nothing shows when the server has forgotten the token; it checks once a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    // A change of the users invalidates all tokens, and a restart forgets them.
    etcd.ctl(&["role", "add", "another"]).await;
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));
    etcd.restart().await;
    driver.deregister(mail.id()).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_call_given_up_on_a_dead_connection_does_not_doom_the_next() {
    let etcd = EtcdServer::start(&[]).await;
    let proxy = Proxy::to(etcd.port()).await;
    let driver = open_at(proxy.port()).await;
    driver.list().await.unwrap();
    proxy.set(Mode::Silent);
    let given_up = tokio::time::timeout(Duration::from_millis(100), driver.list()).await;
    assert!(given_up.is_err());
    proxy.set(Mode::Heal);
    let healed = tokio::time::timeout(Duration::from_secs(30), driver.list()).await;
    healed.expect("the next call has a connection of its own").unwrap();
}

#[tokio::test]
async fn late_calls() {
    let etcd = EtcdServer::start(&[]).await;
    late_calls_undo_nothing(async || {
        let proxy = Proxy::to(etcd.port()).await;
        let driver = open_at(proxy.port()).await;
        (proxy, driver)
    })
    .await;
}
