//! How a watch ends, and how it continues.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use gosd_core::{Event, Instance};
use gosd_testservers::{EtcdCluster, EtcdServer, Mode, Proxy, Watch, changes_come_together};
use tokio::net::{TcpListener, TcpStream};

use super::support::{LONG_LEASE, PATIENCE, instance, open_at};

#[tokio::test]
async fn goes_on_right_after_the_snapshot() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let [before, after] = [instance("a"), instance("b")];
    driver.register(&before, LONG_LEASE).await.unwrap();
    let (mut watch, all) = Watch::start(&*driver).await;
    assert_eq!(all, from_ref(&before));
    driver.register(&after, LONG_LEASE).await.unwrap();
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
        driver.register(&instance("mail").with_metadata("text", &large), LONG_LEASE).await.unwrap();
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
        writer.register(&last, LONG_LEASE).await.unwrap();
    }
    // Everything except the last revision.
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
    writer.register(&other, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(other));
}

#[tokio::test]
async fn a_server_that_ends_the_watch_and_comes_back_is_a_new_snapshot() {
    let mut etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    // The server closes its watches when it ends.
    etcd.process().signal("TERM").await;
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    etcd.restart().await;
    assert_eq!(watch.event_after_errors().await, Event::Reset([mail].into()));
}

#[tokio::test]
async fn a_wiped_server_is_a_new_snapshot_even_if_its_revisions_are_ahead() {
    let mut etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    driver.register(&instance("lost"), LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    etcd.restart_empty().await;
    let other = open_at(etcd.port()).await;
    let all: Vec<Instance> = ["a", "b", "c", "d"].map(instance).into();
    for instance in &all {
        other.register(instance, LONG_LEASE).await.unwrap();
    }
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(watch.event_after_errors().await, Event::Reset(all));
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
    open_at(etcd.port()).await.register(&mail, LONG_LEASE).await.unwrap();
    proxy.set(Mode::Pass);
    assert_eq!(watch.event_after_errors().await, Event::Reset([mail].into()));
}

/// Nothing that clients send arrives, not even heartbeats, so instances that expire may be alive.
#[tokio::test]
async fn a_connection_that_delivers_changes_but_takes_no_requests_is_noticed() {
    let etcd = EtcdServer::start(&[]).await;
    let (port, deaf) = one_way(etcd.port()).await;
    let driver = open_at(port).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    deaf.send_replace(true);
    let other = open_at(etcd.port()).await;
    let busy = async {
        loop {
            other.register(&instance("busy"), LONG_LEASE).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let lost = async {
        loop {
            if let Err(error) = watch.next().await {
                return error;
            }
        }
    };
    let error = tokio::select! {
        error = lost => error,
        () = busy => unreachable!(),
        () = tokio::time::sleep(PATIENCE) => panic!("it is not noticed"),
    };
    assert!(error.is_retryable(), "{error}");
}

/// A port in front of a server, which stops forwarding requests when it is told to.
async fn one_way(server: u16) -> (u16, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (deaf, is_deaf) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let (mut requests, mut to_client) = client.into_split();
            let (mut replies, mut to_server) = server.into_split();
            let mut is_deaf = is_deaf.clone();
            tokio::spawn(async move {
                let deafened = async {
                    let _ = is_deaf.wait_for(|deaf| *deaf).await.is_ok();
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut requests, &mut to_server) => {}
                    // The socket stays open.
                    () = deafened => std::future::pending().await,
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut replies, &mut to_client).await });
        }
    });
    (port, deaf)
}

#[tokio::test]
async fn a_quiet_connection_is_not_taken_for_a_dead_one() {
    let etcd = EtcdServer::start(&[]).await;
    let driver = open_at(etcd.port()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    // Longer than the time after which a watch asks whether the server is alive, and the time for the answer.
    let quiet = tokio::time::timeout(Duration::from_secs(9), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(mail));
}

#[tokio::test]
async fn a_member_without_a_leader_is_an_error_and_then_a_new_snapshot() {
    let mut cluster = EtcdCluster::start().await;
    let [watched, others @ ..] = &mut cluster.nodes;
    let driver = open_at(watched.port()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    for other in others.iter_mut() {
        other.process().signal("STOP").await;
    }
    let error = watch.next().await.unwrap_err();
    assert!(error.to_string().contains("no leader"), "{error}");
    for other in others {
        other.process().signal("CONT").await;
    }
    assert_eq!(watch.event_after_errors().await, Event::Reset([mail].into()));
}

#[tokio::test]
async fn changes_that_come_together_are_taken_together() {
    let server = EtcdServer::start(&[]).await;
    changes_come_together(&*open_at(server.port()).await).await;
}
