//! An etcd cluster of three members.

use std::array;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{EtcdServer, free_port};

/// How long an election may take, on a busy machine too.
const ELECTION: Duration = Duration::from_secs(60);

/// Three etcd members that form one cluster.
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

/// The index of the member that all of these agree to be the leader.
///
/// Waits until there is one. The members must be running.
pub async fn etcd_leader(nodes: &[&EtcdServer]) -> usize {
    let deadline = Instant::now() + ELECTION;
    loop {
        let mut members = Vec::new();
        let mut leaders = BTreeSet::new();
        for node in nodes {
            let status = node.try_ctl(&["endpoint", "status", "-w", "fields"]).await;
            let status = status.unwrap_or_default();
            let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
            members.push(field("\"MemberID\" : ").map(str::to_owned));
            leaders.insert(field("\"Leader\" : ").map(str::to_owned));
        }
        if let (1, Some(leader @ Some(_))) = (leaders.len(), leaders.first())
            && let Some(index) = members.iter().position(|member| member == leader)
        {
            return index;
        }
        assert!(Instant::now() < deadline, "no leader among {members:?}: {leaders:?}");
        // The members announce no election, so the test polls.
        sleep(Duration::from_millis(50)).await;
    }
}
