//! etcd as a backend of trials: one server, or a cluster whose leader dies.

use std::path::PathBuf;

use gosd_core::async_trait;
use gosd_testservers::{EtcdCluster, EtcdServer, Process, etcd_leader};

use super::Backend;
use super::server::Server;
use crate::fault::Fault;

#[async_trait]
impl Server for EtcdServer {
    fn port(&self) -> u16 {
        self.port()
    }

    fn process(&mut self) -> &mut Process {
        self.process()
    }

    fn data(&self) -> PathBuf {
        self.data()
    }

    async fn restart(&mut self) {
        self.restart().await;
    }

    async fn begin(&mut self, _: Fault) {
        let filler = "x".repeat(100_000);
        // Each version takes room, until there is none.
        while self.try_ctl(&["put", "filler", &filler]).await.is_ok() {}
    }

    async fn end(&mut self, _: Fault) {
        self.ctl(&["del", "filler"]).await;
        let status = self.ctl(&["get", "filler", "-w", "json"]).await;
        let revision = status.split("\"revision\":").nth(1).expect("every answer has one");
        let digits: String = revision.chars().take_while(char::is_ascii_digit).collect();
        self.ctl(&["compact", &digits]).await;
        self.ctl(&["defrag"]).await;
        self.ctl(&["alarm", "disarm"]).await;
    }
}

/// Three members, of which the leader dies.
pub(super) struct Cluster {
    cluster: EtcdCluster,
    dead: usize,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self { cluster: EtcdCluster::start().await, dead: 0 }
    }
}

#[async_trait]
impl Backend for Cluster {
    fn url(&self) -> String {
        format!("etcd://{}", self.cluster.hosts())
    }

    async fn remember(&mut self) {}

    async fn begin(&mut self, _: Fault) {
        self.dead = etcd_leader(&self.cluster.nodes.each_ref()).await;
        self.cluster.nodes[self.dead].process().kill().await;
    }

    async fn end(&mut self, _: Fault) {
        self.cluster.nodes[self.dead].restart().await;
    }
}
