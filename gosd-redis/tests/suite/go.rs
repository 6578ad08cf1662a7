//! The driver beside the Go library, whose commands the tests send.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gosd_core::{Client, Event, InstanceId, Settings};
use gosd_testservers::{RedisServer, Watch};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::support::{LONG_LEASE, instance, open};

/// How soon a change by Go has to be seen.
const SOON: Duration = Duration::from_secs(10);

/// What a Go process does when it starts.
async fn start(redis: &mut MultiplexedConnection, id: &str, url: &str) {
    assert_eq!(redis.hset_nx("gosd", id, url).await, Ok(true));
}

/// What a Go process does when it ends.
async fn end(redis: &mut MultiplexedConnection, id: &str) {
    assert_eq!(redis.hdel("gosd", id).await, Ok(1));
}

#[tokio::test]
async fn records_of_go_are_served_unchanged() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    for (id, url, service) in [
        ("provider-20160315122936.17256541", "http://10.0.0.7:8885", "provider"),
        ("order-api-20160315122936.1", "http://localhost:fake", "order-api"),
        ("a b-c.d-1", "", "a b-c.d"),
        ("lonely", "http://h", "lonely"),
        ("-1", "no URL at all", ""),
    ] {
        start(&mut redis, id, url).await;
        let listed = driver.list().await.unwrap();
        let found = listed.iter().find(|instance| instance.id().as_str() == id).unwrap();
        assert_eq!((found.service(), found.url()), (service, url));
    }
}

#[tokio::test]
async fn changes_by_go_are_seen_soon() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let (mut watch, _) = Watch::start(&*driver).await;

    let begin = Instant::now();
    start(&mut redis, "provider-2016.1", "http://a").await;
    let Event::Put(put) = watch.event().await else { panic!() };
    assert_eq!((put.id().as_str(), put.url()), ("provider-2016.1", "http://a"));
    assert!(begin.elapsed() < SOON);

    // After a restart the number of fields is the same as before.
    let begin = Instant::now();
    end(&mut redis, "provider-2016.1").await;
    start(&mut redis, "provider-2016.2", "http://b").await;
    let Event::Put(put) = watch.event().await else { panic!() };
    assert_eq!((put.id().as_str(), put.url()), ("provider-2016.2", "http://b"));
    assert_eq!(watch.event().await, Event::Remove("provider-2016.1".into()));
    assert!(begin.elapsed() < SOON);

    let begin = Instant::now();
    end(&mut redis, "provider-2016.2").await;
    assert_eq!(watch.event().await, Event::Remove("provider-2016.2".into()));
    assert!(begin.elapsed() < SOON);
}

#[tokio::test]
async fn changes_by_go_are_seen_among_many_others() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    start(&mut redis, "provider-2016.1", "http://a").await;
    let busy = async {
        loop {
            driver.register(&instance("busy"), LONG_LEASE).await.unwrap();
        }
    };
    let seen = async {
        loop {
            match watch.event().await {
                Event::Put(put) if put.service() == "provider" => break,
                Event::Put(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::select! {
        () = busy => {}
        seen = tokio::time::timeout(SOON, seen) => seen.expect("it is seen soon"),
    }
}

#[tokio::test]
async fn an_instance_of_go_has_no_lease_and_stays() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    start(&mut redis, "provider-2016.1", "http://a").await;
    assert!(matches!(watch.event().await, Event::Put(_)));
    // Leases run out, and purges happen meanwhile.
    let ours = instance("ours");
    driver.register(&ours, Duration::from_secs(1)).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(ours.clone()));
    assert_eq!(watch.event().await, Event::Expire(ours.id().clone()));
    assert_eq!(redis.zcard("{gosd}:leases").await, Ok(0));
    assert_eq!(driver.list().await.unwrap().len(), 1);

    driver.deregister(&InstanceId::from("provider-2016.1")).await.unwrap();
    assert_eq!(watch.event().await, Event::Remove("provider-2016.1".into()));
    assert_eq!(driver.list().await.unwrap(), []);
}

/// Only the stream contains goodbyes, so nobody knows whether the field was deleted or lost.
#[tokio::test]
async fn an_instance_of_gosd_that_go_removes_is_missing_until_its_heartbeat() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let [ours, stays] = [instance("ours"), instance("stays")];
    driver.register(&ours, LONG_LEASE).await.unwrap();
    driver.register(&stays, LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let begin = Instant::now();
    end(&mut redis, ours.id().as_str()).await;
    let error = watch.next().await.unwrap_err();
    assert!(error.to_string().contains("lost data"), "{error}");
    assert_eq!(watch.event().await, Event::Reset(vec![stays]));
    assert!(begin.elapsed() < SOON);
    driver.register(&ours, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(ours));
}

#[tokio::test]
async fn an_instance_of_gosd_that_lost_its_lease_gets_another() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let [renewed, dead] = [instance("renewed"), instance("dead")];
    for instance in [&renewed, &dead] {
        driver.register(instance, Duration::from_secs(2)).await.unwrap();
    }
    let (mut watch, _) = Watch::start(&*driver).await;
    redis.del::<_, ()>("{gosd}:leases").await.unwrap();
    let listed = driver.list().await.unwrap();
    assert_eq!(listed.len(), 2, "they are served meanwhile");
    for _ in 0..2 {
        assert!(matches!(watch.event().await, Event::Put(_)));
    }
    driver.register(&renewed, LONG_LEASE).await.unwrap();
    loop {
        match watch.event().await {
            Event::Expire(id) if id == *dead.id() => break,
            Event::Put(put) if put == renewed => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&renewed));

    // From now on the driver treats it like any other field of Go.
    start(&mut redis, "provider-2016.1", "http://a").await;
    assert!(matches!(watch.event().await, Event::Put(put) if put.service() == "provider"));
    end(&mut redis, "provider-2016.1").await;
    assert_eq!(watch.event().await, Event::Remove("provider-2016.1".into()));
}

#[tokio::test]
async fn a_mixed_fleet_of_go_and_rust_sees_itself() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let settings = Settings::default().lease_ttl(Duration::from_secs(3));
    let client = |driver| Client::builder(driver).settings(settings.clone());
    let driver = open(&server.url()).await;
    let provider = client(driver).register("mail", "http://10.0.0.7:25").start().await.unwrap();
    let consumer = client(open(&server.url()).await).start().await.unwrap();
    start(&mut redis, "mail-2016.1", "http://10.0.0.8:25").await;

    let fields: Vec<(String, String)> = redis.hgetall("gosd").await.unwrap();
    let id = provider.id().unwrap().to_string();
    assert!(fields.contains(&(id.clone(), "http://10.0.0.7:25".to_owned())), "{fields:?}");

    until(&consumer, |urls| urls == ["http://10.0.0.7:25", "http://10.0.0.8:25"]).await;
    end(&mut redis, "mail-2016.1").await;
    until(&consumer, |urls| urls == ["http://10.0.0.7:25"]).await;
    // A live owner notices the removal, and registers again.
    end(&mut redis, &id).await;
    let back = async {
        while redis.hexists("gosd", &id).await != Ok(true) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, back).await.unwrap();
    until(&consumer, |urls| urls == ["http://10.0.0.7:25"]).await;
    provider.shutdown().await.unwrap();
    until(&consumer, <[String]>::is_empty).await;
}

async fn until(client: &Client, done: impl Fn(&[String]) -> bool) {
    use futures_util::StreamExt;
    let mut changes = client.changes();
    let waiting = async {
        loop {
            let found = client.instances("mail");
            let mut urls: Vec<String> = found.iter().map(|it| it.url().to_owned()).collect();
            urls.sort();
            if done(&urls) {
                break;
            }
            changes.next().await;
        }
    };
    let result = tokio::time::timeout(SOON, waiting).await;
    let left: Vec<Arc<_>> = client.instances("mail");
    result.unwrap_or_else(|_| panic!("{left:?}"));
}
