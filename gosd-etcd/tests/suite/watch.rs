//! How a watch ends, and what comes then.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use gosd_core::{Event, Instance};
use gosd_testservers::{EtcdCluster, EtcdServer, Mode, Proxy};

use super::support::{LONG, Watch, instance, open_at};

#[tokio::test]
async fn goes_on_right_after_the_snapshot() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let [before, after] = [instance("a"), instance("b")];
    driver.register(&before, LONG).await.unwrap();
    let (mut watch, all) = Watch::start(&*driver).await;
    assert_eq!(all, from_ref(&before));
    driver.register(&after, LONG).await.unwrap();
    driver.deregister(before.id()).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(after));
    assert_eq!(watch.event().await, Event::Remove(before.id().clone()));
}

#[tokio::test]
async fn a_registry_larger_than_a_usual_message_is_read_whole() {
    /// With their metadata, more than the 4 MiB that a client takes by default.
    const INSTANCES: usize = 800;
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let large = "x".repeat(7_000);
    for _ in 0..INSTANCES {
        driver.register(&instance("mail").with_metadata("text", &large), LONG).await.unwrap();
    }
    assert_eq!(driver.list().await.unwrap().len(), INSTANCES);
    let (_watch, all) = Watch::start(&*driver).await;
    assert_eq!(all.len(), INSTANCES);
}

#[tokio::test]
async fn a_compaction_under_a_slow_reader_is_a_new_snapshot() {
    /// More than the buffers on the way hold.
    const CHANGES: usize = 3_000;
    let etcd = EtcdServer::start(&[]).await;
    let (watcher, writer) = (open_at(etcd.port()).await, open_at(etcd.port()).await);
    let (mut watch, _) = Watch::start(&*watcher).await;
    let mut last = instance("mail");
    let large = "x".repeat(7_000);
    for change in 0..CHANGES {
        last = last.with_metadata("zone", &change.to_string()).with_metadata("text", &large);
        writer.register(&last, LONG).await.unwrap();
    }
    // Everything but the last revision.
    let fields = etcd.ctl(&["get", "/", "-w", "fields"]).await;
    let revision = fields.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
    etcd.ctl(&["compact", revision]).await;

    let mut changes = 0;
    let error = loop {
        match watch.next().await {
            Ok(Event::Put(_)) => changes += 1,
            Ok(event) => panic!("only one instance changes: {event:?}"),
            Err(error) => break error,
        }
        assert!(changes < CHANGES, "the compaction was not noticed");
    };
    assert!(error.to_string().contains("compacted"), "{error}");
    assert_eq!(watch.event().await, Event::Reset(vec![last.clone()]));
    let other = instance("other");
    writer.register(&other, LONG).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(other));
}

#[tokio::test]
async fn a_server_that_ends_the_watch_and_comes_back_is_a_new_snapshot() {
    let mut etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    // It says goodbye to its watches.
    etcd.process().signal("TERM").await;
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    etcd.restart().await;
    assert_eq!(watch.snapshot().await, [mail]);
}

#[tokio::test]
async fn a_wiped_server_is_a_new_snapshot_even_if_its_revisions_are_ahead() {
    let mut etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    driver.register(&instance("lost"), LONG).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    etcd.restart_empty().await;
    let other = open_at(etcd.port()).await;
    let all: Vec<Instance> = ["a", "b", "c", "d"].map(instance).into();
    for instance in &all {
        other.register(instance, LONG).await.unwrap();
    }
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(watch.snapshot().await, all);
}

#[tokio::test]
async fn a_silent_connection_is_an_error_within_ten_seconds() {
    let etcd = EtcdServer::start(&[]).await;
    let proxy = Proxy::to(etcd.port()).await;
    let driver = open_at(proxy.port()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let start = Instant::now();
    proxy.set(Mode::Silent);
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let mail = instance("mail");
    open_at(etcd.port()).await.register(&mail, LONG).await.unwrap();
    proxy.set(Mode::Pass);
    assert_eq!(watch.snapshot().await, [mail]);
}

#[tokio::test]
async fn a_quiet_connection_is_none() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    // Longer than a watch waits before it asks whether the server is alive, and for the answer.
    let quiet = tokio::time::timeout(Duration::from_secs(9), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let mail = instance("mail");
    driver.register(&mail, LONG).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(mail));
}

#[tokio::test]
async fn a_member_without_a_leader_is_an_error_and_then_a_new_snapshot() {
    let mut cluster = EtcdCluster::start().await;
    let [watched, others @ ..] = &mut cluster.nodes;
    let driver = open_at(watched.port()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    for other in others.iter_mut() {
        other.process().signal("STOP").await;
    }
    let error = watch.next().await.unwrap_err();
    assert!(error.to_string().contains("no leader"), "{error}");
    for other in others {
        other.process().signal("CONT").await;
    }
    assert_eq!(watch.snapshot().await, [mail]);
}
