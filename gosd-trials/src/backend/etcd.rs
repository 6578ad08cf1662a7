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
