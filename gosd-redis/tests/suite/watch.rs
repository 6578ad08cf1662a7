//! When a watch resumes and when it begins again, and its effect on other calls.

use std::time::{Duration, Instant};

use gosd_core::Event;
use gosd_testservers::{Mode, Proxy, RedisServer, Watch};

use super::support::{LONG_LEASE, calls, instance, open};

const EVENTS: &str = "{gosd}:events";

#[tokio::test]
async fn goes_on_after_a_reconnect() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let watcher = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let writer = open(&server.url()).await;
    let [before, meanwhile] = [instance("a"), instance("b")];
    writer.register(&before, LONG_LEASE).await.unwrap();
    let (mut watch, snapshot) = Watch::start(&*watcher).await;
    assert_eq!(snapshot, [before]);

    proxy.set(Mode::Refuse);
    writer.register(&meanwhile, LONG_LEASE).await.unwrap();
    assert!(watch.next().await.is_err());
    proxy.set(Mode::Pass);
    assert_eq!(watch.event().await, Event::Resumed);
    assert_eq!(watch.event().await, Event::Put(meanwhile));
}

#[tokio::test]
async fn goes_on_after_a_reconnect_before_the_first_change() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let watcher = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let (mut watch, snapshot) = Watch::start(&*watcher).await;
    assert_eq!(snapshot, []);
    proxy.set(Mode::Refuse);
    assert!(watch.next().await.is_err());
    proxy.set(Mode::Pass);
    assert_eq!(watch.event().await, Event::Resumed);
    let first = instance("a");
    open(&server.url()).await.register(&first, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(first));
}

#[tokio::test]
async fn starts_again_when_the_stream_was_trimmed() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let watcher = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let writer = open(&server.url()).await;
    writer.register(&instance("a"), LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*watcher).await;

    proxy.set(Mode::Refuse);
    writer.register(&instance("b"), LONG_LEASE).await.unwrap();
    writer.register(&instance("c"), LONG_LEASE).await.unwrap();
    trim(&server).await;
    assert!(watch.next().await.is_err());
    proxy.set(Mode::Pass);
    assert!(matches!(watch.event().await, Event::Reset(all) if all.len() == 3));
}

#[tokio::test]
async fn starts_again_when_the_stream_was_trimmed_under_a_slow_reader() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    driver.register(&instance("a"), LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let read = instance("b");
    driver.register(&read, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(read));
    // The watch is not polled meanwhile, and the rest of the stream begins after its position.
    driver.register(&instance("c"), LONG_LEASE).await.unwrap();
    driver.register(&instance("d"), LONG_LEASE).await.unwrap();
    trim(&server).await;
    assert!(watch.next().await.is_err());
    assert!(matches!(watch.event().await, Event::Reset(all) if all.len() == 4));
}

#[tokio::test]
async fn starts_again_after_flushall_with_higher_ids() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    driver.register(&instance("a"), LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let before = instance("b");
    driver.register(&before, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(before));
    flush(&server).await;
    let after = instance("c");
    driver.register(&after, LONG_LEASE).await.unwrap();
    assert!(watch.next().await.is_err(), "clients give everybody a lease to come back");
    assert_eq!(watch.event().await, Event::Reset(vec![after]));
}

/// Within one millisecond, the first entry of a new stream gets the id of the last one.
#[tokio::test]
async fn starts_again_after_flushall_with_the_same_id() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let mut redis = server.connect(None).await;
    let mut add = async |name| {
        let mut add = redis::cmd("XADD");
        let id = format!("mail-{name}");
        add.arg(EVENTS).arg("5-0").arg(&[("op", "put"), ("id", &id), ("url", "http://h")]);
        add.exec_async(&mut redis).await.unwrap();
    };
    add("before").await;
    assert!(matches!(watch.event().await, Event::Put(_)));
    flush(&server).await;
    add("after").await;
    assert!(watch.next().await.is_err(), "clients give everybody a lease to come back");
    assert_eq!(watch.event().await, Event::Reset(Vec::new()));
}

#[tokio::test]
async fn starts_again_after_flushall_with_lower_ids() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    // As if the server's clock had been ahead.
    let mut ahead = redis::cmd("XADD");
    ahead.arg(EVENTS).arg("99999999999999-0").arg(&[("op", "remove"), ("id", "x-1")]);
    ahead.exec_async(&mut server.connect(None).await).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    flush(&server).await;
    let after = instance("b");
    driver.register(&after, LONG_LEASE).await.unwrap();
    assert!(watch.next().await.is_err(), "clients give everybody a lease to come back");
    assert_eq!(watch.event().await, Event::Reset(vec![after]));
}

#[tokio::test]
async fn starts_again_when_a_failover_lost_the_tail_and_overtook_it() {
    let mut server = RedisServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let watcher = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let kept = instance("kept");
    open(&server.url()).await.register(&kept, LONG_LEASE).await.unwrap();
    redis::cmd("SAVE").exec_async(&mut server.connect(None).await).await.unwrap();
    let (mut watch, _) = Watch::start(&*watcher).await;
    let lost = instance("lost");
    open(&server.url()).await.register(&lost, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(lost));

    proxy.set(Mode::Refuse);
    // The server restarts from its last copy on disk, like a replica that was behind.
    server.restart().await;
    let later = instance("later");
    open(&server.url()).await.register(&later, LONG_LEASE).await.unwrap();
    assert!(watch.next().await.is_err());
    proxy.set(Mode::Pass);
    let Event::Reset(mut all) = watch.event().await else { panic!("the lost one would stay") };
    all.sort_by(|a, b| a.service().cmp(b.service()));
    assert_eq!(all, [kept, later]);
}

#[tokio::test]
async fn a_silent_connection_is_an_error_within_ten_seconds() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let driver = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let start = Instant::now();
    proxy.set(Mode::Silent);
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    proxy.set(Mode::Pass);
    assert_eq!(watch.event().await, Event::Resumed);
}

#[tokio::test]
async fn a_call_given_up_on_a_dead_connection_does_not_doom_the_next() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let driver = open(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    driver.list().await.unwrap();
    proxy.set(Mode::Silent);
    let given_up = tokio::time::timeout(Duration::from_millis(100), driver.list()).await;
    assert!(given_up.is_err());
    proxy.set(Mode::Heal);
    let healed = tokio::time::timeout(Duration::from_secs(10), driver.list()).await;
    healed.expect("a new connection is made").unwrap();
}

#[tokio::test]
async fn expiries_are_yielded_when_every_process_only_discovers() {
    let server = RedisServer::start(&[]).await;
    let dead = instance("dead");
    open(&server.url()).await.register(&dead, Duration::from_secs(1)).await.unwrap();
    let driver = open(&server.url()).await;
    let (mut watch, snapshot) = Watch::start(&*driver).await;
    assert_eq!(snapshot, std::slice::from_ref(&dead));
    assert_eq!(watch.event().await, Event::Expire(dead.id().clone()));
}

#[tokio::test]
async fn commands_do_not_wait_for_the_stream() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let reader = tokio::time::timeout(Duration::from_millis(50), watch.next());
    let writes = async {
        for _ in 0..100 {
            driver.list().await.unwrap();
        }
        Instant::now()
    };
    let start = Instant::now();
    let (quiet, done) = tokio::join!(reader, writes);
    assert!(quiet.is_err(), "nothing happens");
    // Each command would wait five seconds behind the stream.
    assert!(done - start < Duration::from_secs(5));
}

async fn trim(server: &RedisServer) {
    let mut trim = redis::cmd("XTRIM");
    trim.arg(EVENTS).arg("MAXLEN").arg(1);
    trim.exec_async(&mut server.connect(None).await).await.unwrap();
}

async fn flush(server: &RedisServer) {
    redis::cmd("FLUSHALL").exec_async(&mut server.connect(None).await).await.unwrap();
}

#[tokio::test]
async fn changes_that_come_together_are_read_together() {
    const CHANGES: u32 = 200;
    /// Twenty a second, and as many for what else the watch does.
    const READS_A_SECOND: u32 = 40;
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let mut redis = server.connect(None).await;
    let before = calls(&mut redis, "xread").await;
    let begun = Instant::now();
    let changing = async {
        for _ in 0..CHANGES {
            driver.register(&instance("a"), LONG_LEASE).await.unwrap();
        }
    };
    let watching = async {
        for _ in 0..CHANGES {
            watch.event().await;
        }
    };
    tokio::join!(changing, watching);
    let most = (begun.elapsed() + Duration::from_secs(1)) * READS_A_SECOND;
    let reads = calls(&mut redis, "xread").await - before;
    assert!(f64::from(reads) <= most.as_secs_f64(), "{reads} reads of {CHANGES} changes");
}
