//! The driver's data in Redis, read with plain commands, and the cost of changes.

use std::collections::HashMap;
use std::time::Duration;

use gosd_core::Event;
use gosd_testservers::{RedisCluster, RedisServer, Watch};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::support::{LONG_LEASE, instance, open};

type Entry = (String, HashMap<String, String>);

#[tokio::test]
async fn the_layout_as_written() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&format!("{}?namespace=shop", server.url())).await;
    let plain = instance("orders");
    let rich = instance("mail").with_metadata("zone", "b");
    driver.register(&plain, Duration::from_secs(15)).await.unwrap();
    driver.register(&rich, Duration::from_secs(15)).await.unwrap();

    let registry: HashMap<String, String> = redis.hgetall("shop").await.unwrap();
    assert_eq!(registry.len(), 2);
    assert_eq!(registry[plain.id().as_str()], plain.url());
    let meta: HashMap<String, String> = redis.hgetall("{shop}:meta").await.unwrap();
    assert_eq!(meta, HashMap::from([(rich.id().to_string(), rich.to_json())]));
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let expiry: u64 = redis.zscore("{shop}:leases", plain.id().as_str()).await.unwrap();
    assert!((1..=16).contains(&(expiry / 1_000 - seconds)), "{expiry}");

    driver.deregister(plain.id()).await.unwrap();
    driver.deregister(plain.id()).await.unwrap();
    let entries = events(&mut redis, "shop").await;
    let id = plain.id().as_str();
    let expected = [
        vec![("op", "put"), ("id", id), ("url", plain.url()), ("meta", "")],
        vec![
            ("op", "put"),
            ("id", rich.id().as_str()),
            ("url", rich.url()),
            ("meta", meta[rich.id().as_str()].as_str()),
        ],
        vec![("op", "remove"), ("id", id)],
    ];
    assert_eq!(entries.len(), expected.len(), "{entries:?}");
    for ((_, entry), expected) in entries.iter().zip(expected) {
        let expected = expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        assert_eq!(*entry, expected);
    }
    assert_eq!(redis.hexists("shop", id).await, Ok(false));
    assert_eq!(redis.zscore("{shop}:leases", id).await, Ok(None::<u64>));
}

#[tokio::test]
async fn a_heartbeat_is_one_round_trip_and_no_entry() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let own = instance("mail").with_metadata("zone", "b");
    driver.register(&own, LONG_LEASE).await.unwrap();
    let entries = events(&mut redis, "gosd").await.len();
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.unwrap();
    for _ in 0..10 {
        driver.register(&own, LONG_LEASE).await.unwrap();
    }
    assert_eq!(events(&mut redis, "gosd").await.len(), entries);
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
    assert!(stats.contains("cmdstat_evalsha:calls=10,"), "{stats}");
    for other in ["eval:", "script|load:", "xadd:", "hset:", "ping:", "exists:"] {
        assert!(!stats.contains(&format!("cmdstat_{other}")), "{stats}");
    }
}

#[tokio::test]
async fn scripts_are_loaded_again_where_they_are_not_known() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let own = instance("mail");
    driver.register(&own, LONG_LEASE).await.unwrap();
    let mut redis = server.connect(None).await;
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut redis).await.unwrap();
    driver.register(&own, LONG_LEASE).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut redis).await.unwrap();
    driver.deregister(own.id()).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), []);
}

#[tokio::test]
async fn the_stream_is_trimmed() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    // Many entries at once, as many changes would write them.
    let fill = "for i = 1, 20000 do redis.call('XADD', KEYS[1], '*', 'op', 'remove', 'id', i) end";
    redis::Script::new(fill).key("{gosd}:events").invoke_async::<()>(&mut redis).await.unwrap();
    open(&server.url()).await.register(&instance("mail"), LONG_LEASE).await.unwrap();
    let left = events(&mut redis, "gosd").await.len();
    assert!((10_000..10_200).contains(&left), "{left}");
}

#[tokio::test]
async fn a_purge_removes_what_has_expired_and_nothing_else() {
    const DEAD: usize = 250;
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let lives = instance("lives");
    driver.register(&lives, LONG_LEASE).await.unwrap();
    redis.hset::<_, _, _, ()>("gosd", "go-20160315122936.1", "http://h").await.unwrap();
    for _ in 0..DEAD {
        let dead = instance("dead").with_metadata("zone", "b");
        driver.register(&dead, Duration::from_millis(100)).await.unwrap();
    }
    let (mut watch, _) = Watch::start(&*driver).await;
    for _ in 0..DEAD {
        assert!(
            matches!(watch.event().await, Event::Expire(id) if id.as_str().starts_with("dead"))
        );
    }
    let left: HashMap<String, String> = redis.hgetall("gosd").await.unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(redis.zcard("{gosd}:leases").await, Ok(1));
    assert_eq!(redis.exists("{gosd}:meta").await, Ok(false));
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
    assert!(stats.contains(&format!("cmdstat_zrem:calls={DEAD},")), "{stats}");
}

#[tokio::test]
async fn a_late_heartbeat_reaches_watchers_that_saw_the_lease_expire() {
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    let driver = open(&server.url()).await;
    let late = instance("late");
    driver.register(&late, LONG_LEASE).await.unwrap();
    // The lease has run out, but no process has purged it yet.
    redis.zadd::<_, _, _, ()>("{gosd}:leases", late.id().as_str(), 1).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), []);
    driver.register(&late, LONG_LEASE).await.unwrap();
    let (_, last) = events(&mut redis, "gosd").await.pop().unwrap();
    assert_eq!((last["op"].as_str(), last["id"].as_str()), ("put", late.id().as_str()));
    assert_eq!(driver.list().await.unwrap(), [late]);
}

#[tokio::test]
async fn all_keys_are_in_one_slot() {
    let cluster = RedisCluster::start().await;
    for namespace in ["gosd", "staging.eu_1-a"] {
        let url = format!("redis+cluster://{}?namespace={namespace}", cluster.hosts());
        let rich = instance("mail").with_metadata("zone", "b");
        open(&url).await.register(&rich, LONG_LEASE).await.unwrap();
        let mut slots = Vec::new();
        for node in cluster.nodes() {
            let mut redis = node.connect(None).await;
            let keys: Vec<String> = redis.keys(format!("*{namespace}*")).await.unwrap();
            for key in keys {
                let mut question = redis::cmd("CLUSTER");
                question.arg("KEYSLOT").arg(key);
                slots.push(question.query_async::<u16>(&mut redis).await.unwrap());
            }
        }
        assert!(slots.len() == 4 && slots.iter().all(|slot| *slot == slots[0]), "{slots:?}");
    }
}

async fn events(redis: &mut MultiplexedConnection, namespace: &str) -> Vec<Entry> {
    let mut range = redis::cmd("XRANGE");
    range.arg(format!("{{{namespace}}}:events")).arg("-").arg("+");
    range.query_async(redis).await.unwrap()
}
