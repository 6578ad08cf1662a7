//! Redis under sentinels as a backend of trials.

use gosd_core::async_trait;
use gosd_testservers::RedisSentinels;
use redis::Cmd;

use super::Backend;
use crate::fault::Fault;

/// A master and a replica under three sentinels.
pub(super) struct Sentinel {
    group: RedisSentinels,
}

impl Sentinel {
    pub(super) async fn start() -> Self {
        Self { group: RedisSentinels::start().await }
    }
}

#[async_trait]
impl Backend for Sentinel {
    fn url(&self) -> String {
        format!("redis+sentinel://{}/mymaster", self.group.hosts())
    }

    async fn remember(&mut self) {}

    /// The master dies, and the replica that is to take over has lost everything.
    async fn begin(&mut self, _: Fault) {
        self.group.first.process().kill().await;
        let mut replica = self.group.second.connect(None).await;
        for command in [&["CONFIG", "SET", "replica-read-only", "no"][..], &["FLUSHALL"]] {
            let mut cmd = Cmd::new();
            cmd.arg(command).exec_async(&mut replica).await.expect("the replica obeys");
        }
    }

    async fn end(&mut self, _: Fault) {
        self.group.wait_for_second().await;
    }
}
