use tempfile::TempDir;

use crate::{Process, RedisServer, free_port};

/// One Redis Sentinel, which watches over a master and its replicas.
#[derive(Debug)]
pub struct RedisSentinel {
    process: Process,
    directory: TempDir,
    port: u16,
}

impl RedisSentinel {
    /// Starts a sentinel for a master under a name; `quorum` sentinels have to agree on a failover.
    pub async fn start(name: &str, master: &RedisServer, quorum: usize) -> Self {
        let port = free_port();
        let directory = TempDir::new().expect("a directory can be made");
        let file = directory.path().join("sentinel.conf");
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor {name} 127.0.0.1 {} {quorum}\n\
             sentinel down-after-milliseconds {name} 1000\n\
             sentinel failover-timeout {name} 5000\n",
            directory.path().display(),
            master.port(),
        );
        std::fs::write(&file, config).expect("the directory can be written");
        let file = file.to_str().expect("the path is UTF-8").to_owned();
        let args = [file.as_str(), "--sentinel"];
        let process = Process::start("redis-server", "redis-server", args, "+monitor").await;
        Self { process, directory, port }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection of the test's own.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        crate::redis_server::connect(&format!("redis://127.0.0.1:{}", self.port)).await
    }
}
