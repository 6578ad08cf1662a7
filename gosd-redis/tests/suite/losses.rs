//! A server that loses a key of the registry, by eviction or by mistake, without any goodbye.

use std::time::Duration;

use gosd_core::{Driver, Event, Instance};
use gosd_testservers::{RedisServer, Watch};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::support::{LONG_LEASE, calls, instance, open};

#[tokio::test]
async fn the_hash_is_lost() {
    let (server, driver, all) = three().await;
    let (mut watch, _) = Watch::start(&*driver).await;
    lose(&server, "gosd").await;
    // One instance registers again soon, so the hash is not empty.
    driver.register(&all[0], LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(all[0].clone()));
    let error = watch.next().await.unwrap_err();
    assert!(error.to_string().contains("lost data"), "{error}");
    assert_eq!(watch.event().await, Event::Reset(vec![all[0].clone()]));
    for instance in &all[1..] {
        driver.register(instance, LONG_LEASE).await.unwrap();
        assert_eq!(watch.event().await, Event::Put(instance.clone()));
    }
}

#[tokio::test]
async fn the_leases_are_lost() {
    let (server, driver, all) = three().await;
    let (mut watch, _) = Watch::start(&*driver).await;
    lose(&server, "{gosd}:leases").await;
    for _ in &all {
        assert!(matches!(watch.event().await, Event::Put(put) if all.contains(&put)));
    }
    assert_eq!(driver.list().await.unwrap().len(), all.len());
}

#[tokio::test]
async fn the_metadata_is_lost() {
    let (server, driver, all) = three().await;
    let (mut watch, _) = Watch::start(&*driver).await;
    lose(&server, "{gosd}:meta").await;
    for instance in &all {
        driver.register(instance, LONG_LEASE).await.unwrap();
        assert_eq!(watch.event().await, Event::Put(instance.clone()));
    }
}

#[tokio::test]
async fn the_stream_is_lost() {
    let (server, driver, all) = three().await;
    let (mut watch, _) = Watch::start(&*driver).await;
    lose(&server, "{gosd}:events").await;
    assert!(watch.next().await.is_err());
    assert!(matches!(watch.event().await, Event::Reset(found) if found.len() == all.len()));
}

/// The id does not have gosd's form, but it had a lease, so it does not belong to Go.
#[tokio::test]
async fn an_id_of_ones_own_that_lost_its_lease_gets_one_more() {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let own = Instance::from_parts("mail-7".into(), "mail", "http://h", [].into());
    driver.register(&own, Duration::from_secs(2)).await.unwrap();
    let (mut watch, snapshot) = Watch::start(&*driver).await;
    assert_eq!(snapshot, std::slice::from_ref(&own));
    let mark = instance("mark");
    driver.register(&mark, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event().await, Event::Put(mark.clone()));
    driver.register(&own, Duration::from_secs(2)).await.unwrap();
    lose(&server, "{gosd}:leases").await;
    for _ in 0..2 {
        let Event::Put(put) = watch.event().await else { panic!() };
        assert!([&own, &mark].contains(&&put), "{put:?}");
    }
    assert_eq!(watch.event().await, Event::Expire(own.id().clone()));
}

/// Without memory Redis accepts no transaction, and yet a goodbye is yielded.
#[tokio::test]
async fn a_goodbye_without_memory_is_heard() {
    let (server, driver, all) = three().await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let mut less = redis::cmd("CONFIG");
    less.arg("SET").arg("maxmemory").arg("1");
    less.exec_async(&mut server.connect(None).await).await.unwrap();
    assert!(watch.next().await.is_err());
    driver.deregister(all[0].id()).await.unwrap();
    let heard = async {
        loop {
            match watch.next().await {
                Ok(Event::Remove(id)) => break assert_eq!(id, *all[0].id()),
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("it is heard");
}

/// An instance that Go adds is searched for once, however much changes meanwhile.
#[tokio::test]
async fn what_go_does_is_not_read_again_and_again() {
    const MANY: u32 = 3_000;
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    leased(&mut redis, MANY).await;
    let driver = open(&server.url()).await;
    let (mut watch, snapshot) = Watch::start(&*driver).await;
    assert_eq!(snapshot.len(), MANY as usize);
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.unwrap();
    redis.hset_nx::<_, _, _, ()>("gosd", "provider-2016.1", "http://a").await.unwrap();
    let busy = async {
        loop {
            driver.register(&instance("busy"), LONG_LEASE).await.unwrap();
        }
    };
    let seen = async {
        let mut found = None;
        let end = std::time::Instant::now() + Duration::from_secs(8);
        while found.is_none() || std::time::Instant::now() < end {
            match watch.event().await {
                Event::Put(put) if put.service() == "provider" => {
                    assert_eq!(found.replace(put), None, "it is told once");
                }
                Event::Put(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::select! {
        () = busy => {}
        () = seen => {}
    }
    assert_eq!(calls(&mut redis, "hgetall").await, 0);
    let scans = calls(&mut redis, "hscan").await;
    assert!(scans > 0 && scans <= 4 * MANY / 500, "{scans}");
}

/// Neither of Go's instances nor of others whose ids do not have gosd's form.
#[tokio::test]
async fn a_look_does_not_grow_with_the_number_of_instances() {
    const MANY: u32 = 10_000;
    /// The most that one look reads of single instances: their fields, and at first each one's lease.
    const MOST: u32 = 500 + 2;
    let server = RedisServer::start(&[]).await;
    let mut redis = server.connect(None).await;
    leased(&mut redis, MANY).await;
    let go = "for i = 1, ARGV[1] do redis.call('HSET', KEYS[1], 'provider-' .. i, 'http://a') end";
    let go = redis::Script::new(go);
    go.key("gosd").arg(MANY).invoke_async::<()>(&mut redis).await.unwrap();
    let driver = open(&server.url()).await;
    let (mut watch, snapshot) = Watch::start(&*driver).await;
    assert_eq!(snapshot.len(), 2 * MANY as usize);
    for (id, most) in [("provider-1", MOST), ("provider-9999", 2)] {
        redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.unwrap();
        assert_eq!(redis.hdel("gosd", id).await, Ok(1));
        assert_eq!(watch.event().await, Event::Remove(id.into()));
        let mut reads = 0;
        for command in ["hget", "hmget", "zscore"] {
            reads += calls(&mut redis, command).await;
        }
        let looks = calls(&mut redis, "exec").await;
        assert!(looks > 0 && reads <= looks * most, "{reads} reads in {looks} looks");
    }
}

/// Instances with leases, whose ids do not have gosd's form.
async fn leased(redis: &mut MultiplexedConnection, count: u32) {
    let fill = "for i = 1, ARGV[1] do
        redis.call('HSET', KEYS[1], 'job-' .. i, 'http://h'); redis.call('ZADD', KEYS[2], 1e15, 'job-' .. i)
    end";
    let script = redis::Script::new(fill);
    let mut fill = script.key("gosd");
    fill.key("{gosd}:leases").arg(count).invoke_async::<()>(redis).await.unwrap();
}

async fn three() -> (RedisServer, std::sync::Arc<dyn Driver>, Vec<Instance>) {
    let server = RedisServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let all: Vec<Instance> =
        ["a", "b", "c"].map(|service| instance(service).with_metadata("zone", "b")).into();
    for instance in &all {
        driver.register(instance, LONG_LEASE).await.unwrap();
    }
    (server, driver, all)
}

async fn lose(server: &RedisServer, key: &str) {
    assert_eq!(server.connect(None).await.del(key).await, Ok(1));
}
