//! Drivers and leases that several tests need.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance};
use gosd_testservers::RedisServer;
use redis::aio::MultiplexedConnection;

/// A lease longer than any test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_redis::open(url).await.expect("the URL is good")
}

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good instance")
}

/// Sets the end of an instance's lease by hand, in ms by the server's clock.
pub(crate) async fn set_end(server: &RedisServer, instance: &Instance, end: &str) {
    let mut set = redis::cmd("ZADD");
    set.arg("{gosd}:leases").arg("XX").arg(end).arg(instance.id().as_str());
    set.exec_async(&mut server.connect(None).await).await.unwrap();
}

/// How often the server has executed a command, in transactions and scripts too.
pub(crate) async fn calls(redis: &mut MultiplexedConnection, command: &str) -> u32 {
    let mut info = redis::cmd("INFO");
    let stats: String = info.arg("commandstats").query_async(redis).await.unwrap();
    let of_it = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&of_it));
    line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}
