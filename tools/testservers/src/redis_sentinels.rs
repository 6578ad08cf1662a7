//! A Redis master and its replica under three sentinels.

use std::collections::HashMap;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{Process, RedisServer, free_port, redis_server};

/// How long the sentinels may take to find each other, and the replica.
const MEET: Duration = Duration::from_secs(60);

/// A master, a replica, and three sentinels that watch over them under the name `mymaster`.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The server that was the master at first.
    pub first: RedisServer,
    /// The server that was its replica at first.
    pub second: RedisServer,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    port: u16,
    _process: Process,
    _directory: TempDir,
}

impl RedisSentinels {
    /// Starts all of them, and waits until they know each other.
    pub async fn start() -> Self {
        let at_once = ["--repl-diskless-sync-delay", "0"];
        let first = RedisServer::start(&at_once).await;
        let port = first.port().to_string();
        let replica_of = ["--replicaof", "127.0.0.1", &port];
        let second = RedisServer::start(&[replica_of.as_slice(), &at_once].concat()).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Sentinel::start(&port).await);
        }
        let group = Self { first, second, sentinels };
        group
            .wait_until(|state| {
                let is = |key: &str, value: &str| state.get(key).is_some_and(|it| it == value);
                is("num-slaves", "1") && is("num-other-sentinels", "2")
            })
            .await;
        group
    }

    /// The sentinels' addresses, as in a URL.
    pub fn hosts(&self) -> String {
        let hosts = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
        hosts.collect::<Vec<String>>().join(",")
    }

    /// Makes the sentinels promote the replica, and waits until all of them name it as the master.
    pub async fn fail_over(&self) {
        let mut failover = redis::cmd("SENTINEL");
        failover.arg("FAILOVER").arg("mymaster");
        failover.exec_async(&mut self.sentinels[0].connect().await).await.expect("a good replica");
        self.wait_for_second().await;
    }

    /// Waits until all sentinels name the second server as the master.
    pub async fn wait_for_second(&self) {
        let port = self.second.port().to_string();
        self.wait_until(|state| state.get("port") == Some(&port)).await;
    }

    /// Waits until the replica has everything that was written so far.
    pub async fn wait_for_replica(&self) {
        let mut wait = redis::cmd("WAIT");
        wait.arg(1).arg(MEET.as_millis() as u64);
        let replicas: usize =
            wait.query_async(&mut self.first.connect(None).await).await.expect("a master");
        assert_eq!(replicas, 1, "the replica does not follow");
    }

    async fn wait_until(&self, done: impl Fn(&HashMap<String, String>) -> bool) {
        let deadline = Instant::now() + MEET;
        for sentinel in &self.sentinels {
            let mut redis = sentinel.connect().await;
            loop {
                let mut question = redis::cmd("SENTINEL");
                question.arg("MASTER").arg("mymaster");
                let state = question.query_async(&mut redis).await.expect("a sentinel");
                if done(&state) {
                    break;
                }
                assert!(Instant::now() < deadline, "the sentinels do not come up: {state:?}");
                // The sentinels do not report when they are done, so the test polls.
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Sentinel {
    async fn start(master: &str) -> Self {
        let port = free_port();
        let directory = TempDir::new().expect("a directory can be made");
        let file = directory.path().join("sentinel.conf");
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor mymaster 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 5000\n",
            directory.path().display(),
        );
        std::fs::write(&file, config).expect("the directory can be written");
        let args = [file.to_str().expect("the path is UTF-8"), "--sentinel"];
        let process = Process::start("redis-server", "redis-server", args, "+monitor").await;
        Self { port, _process: process, _directory: directory }
    }

    async fn connect(&self) -> redis::aio::MultiplexedConnection {
        redis_server::connect(&format!("redis://127.0.0.1:{}", self.port)).await
    }
}
