//! Redis as a backend of trials.

use std::path::PathBuf;

use gosd_core::async_trait;
use gosd_testservers::{Process, RedisServer, WallClock};
use redis::cmd;

use super::server::Server;
use crate::fault::Fault;

/// A server that keeps everything, by a clock that can be set.
pub(super) struct Redis {
    server: RedisServer,
    clock: WallClock,
}

impl Redis {
    pub(super) async fn start() -> Self {
        let clock = WallClock::ahead_by(0).await;
        let args =
            ["--appendonly", "yes", "--appendfsync", "always", "--enable-protected-configs", "yes"];
        Self { server: RedisServer::start_with_clock(&clock, &args).await, clock }
    }

    async fn say(&self, words: &[&str]) {
        let mut connection = self.server.connect(None).await;
        let said: redis::RedisResult<redis::Value> =
            cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await;
        said.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    async fn set(&self, name: &str, value: &str) {
        self.say(&["CONFIG", "SET", name, value]).await;
    }
}

#[async_trait]
impl Server for Redis {
    fn port(&self) -> u16 {
        self.server.port()
    }

    fn process(&mut self) -> &mut Process {
        self.server.process()
    }

    fn data(&self) -> PathBuf {
        self.server.data()
    }

    async fn restart(&mut self) {
        self.server.restart().await;
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::NoMemory => self.set("maxmemory", "1").await,
            Fault::NoReplicas => self.set("min-replicas-to-write", "1").await,
            Fault::FailingSave => {
                // It cannot write there, and notices when it tries.
                self.set("dir", "/proc").await;
                self.set("save", "3600 1000000").await;
                self.say(&["BGSAVE"]).await;
            }
            Fault::Deny => self.say(&["ACL", "SETUSER", "default", "-@write"]).await,
            _ => self.clock.set(3_600),
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::NoMemory => self.set("maxmemory", "0").await,
            Fault::NoReplicas => self.set("min-replicas-to-write", "0").await,
            Fault::FailingSave => {
                let data = self.server.data();
                self.set("dir", data.to_str().expect("the path is UTF-8")).await;
                self.set("save", "").await;
            }
            Fault::Deny => self.say(&["ACL", "SETUSER", "default", "+@all"]).await,
            _ => self.clock.set(0),
        }
    }
}
