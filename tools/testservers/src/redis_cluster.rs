//! A Redis Cluster of three nodes.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep};

use crate::{Proxy, RedisServer, free_port};

const SLOTS: usize = 16_384;
/// How long the nodes may take to find each other.
const MEET: Duration = Duration::from_secs(60);

/// A Redis Cluster of three nodes without replicas, each behind a proxy that the nodes announce.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    proxies: Vec<Proxy>,
}

impl RedisCluster {
    /// Starts the nodes, and waits until the cluster works.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        let mut proxies = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..3 {
            let (port, bus) = (free_port(), free_port());
            let proxy = Proxy::to(port).await;
            let announced = proxy.port().to_string();
            nodes.push(
                RedisServer::start_at(
                    port,
                    &[
                        "--cluster-enabled",
                        "yes",
                        "--cluster-port",
                        &bus.to_string(),
                        "--cluster-announce-ip",
                        "127.0.0.1",
                        "--cluster-announce-port",
                        &announced,
                        "--cluster-announce-bus-port",
                        &bus.to_string(),
                    ],
                )
                .await,
            );
            proxies.push(proxy);
            buses.push(bus);
        }
        let cluster = Self { nodes, proxies };
        cluster.meet(&buses).await;
        cluster
    }

    async fn meet(&self, buses: &[u16]) {
        let mut connections = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let mut redis = node.connect(None).await;
            let range = (SLOTS * i / 3, SLOTS * (i + 1) / 3 - 1);
            run(redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(range.0).arg(range.1), &mut redis)
                .await;
            for (other, bus) in self.nodes.iter().zip(buses) {
                let mut meet = redis::cmd("CLUSTER");
                meet.arg("MEET").arg("127.0.0.1").arg(other.port()).arg(*bus);
                run(&meet, &mut redis).await;
            }
            connections.push(redis);
        }
        let deadline = Instant::now() + MEET;
        for redis in &mut connections {
            loop {
                let info: String =
                    redis::cmd("CLUSTER").arg("INFO").query_async(redis).await.expect("a node");
                let done = ["cluster_state:ok", "cluster_known_nodes:3", "cluster_size:3"];
                if done.iter().all(|line| info.contains(line)) {
                    break;
                }
                assert!(Instant::now() < deadline, "the cluster does not come up:\n{info}");
                // The nodes do not report when they are done, so the test polls.
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The nodes' addresses, as in a URL.
    pub fn hosts(&self) -> String {
        let hosts: Vec<String> =
            self.proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect();
        hosts.join(",")
    }

    /// The nodes.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The proxies in front of the nodes.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }
}

async fn run(command: &redis::Cmd, redis: &mut MultiplexedConnection) {
    command.exec_async(redis).await.expect("the node obeys");
}
