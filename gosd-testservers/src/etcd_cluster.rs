use std::array;

use crate::{EtcdServer, free_port};

/// Three etcd members that are one cluster.
#[derive(Debug)]
pub struct EtcdCluster {
    /// The members.
    pub nodes: [EtcdServer; 3],
}

impl EtcdCluster {
    /// Starts the members, and waits until there is a leader.
    pub async fn start() -> Self {
        let peers: [String; 3] = array::from_fn(|_| format!("http://127.0.0.1:{}", free_port()));
        let names = ["one", "two", "three"];
        let cluster: Vec<String> =
            names.iter().zip(&peers).map(|(name, peer)| format!("{name}={peer}")).collect();
        let cluster = cluster.join(",");
        let [one, two, three] =
            array::from_fn(|n| EtcdServer::member(names[n], &peers[n], &cluster, &[]));
        let (one, two, three) = tokio::join!(one, two, three);
        Self { nodes: [one, two, three] }
    }

    /// The members' addresses, as in a URL.
    pub fn hosts(&self) -> String {
        self.nodes.each_ref().map(|node| format!("127.0.0.1:{}", node.port())).join(",")
    }
}
