//! A cluster of three, whose members are killed, paused and restarted under load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::StatusResponse;
use gosd_core::{Client, InstanceId, Settings};
use gosd_testservers::{EtcdCluster, EtcdServer, etcd_leader};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::history::{History, Load, eventually};
use super::support::{PATIENCE, open};

const LEASE: Duration = Duration::from_secs(3);
/// How long the load runs undisturbed between two faults.
const CALM: Duration = Duration::from_secs(2);
const SERVICE: &str = "stays";
const CHURN: &str = "comes-and-goes";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_the_loss_of_any_member() {
    let mut cluster = EtcdCluster::start().await;
    let url = format!("etcd://{}", cluster.hosts());
    let history = Arc::new(History::default());
    let mut owners = Vec::new();
    for _ in 0..4 {
        owners.push(start(&url, Some(SERVICE)).await);
    }
    let users = [start(&url, None).await, start(&url, None).await, start(&url, None).await];
    for user in &users {
        user.next(SERVICE).await.expect("an instance");
    }

    // Dropped, and so ended, even if something below panics.
    let mut load = JoinSet::new();
    for (name, user) in ["user one", "user two", "user three"].into_iter().zip(&users) {
        load.spawn(look_up(user.clone(), name, history.clone()));
    }
    for worker in 0..4 {
        load.spawn(come_and_go(url.clone(), worker, history.clone()));
    }
    load.spawn(observe(url.clone(), history.clone()));
    load.spawn(note_leaders(cluster.nodes.each_ref().map(EtcdServer::port), history.clone()));
    tokio::select! {
        () = disturb(&mut cluster.nodes) => load.shutdown().await,
        ended = load.join_next() => panic!("the load ended by itself: {ended:?}"),
    }

    let live: BTreeSet<InstanceId> =
        owners.iter().filter_map(|owner| owner.id().cloned()).collect();
    eventually("the live instances, and no others, are registered", async || {
        same(&live, &registered(&cluster.nodes[0]).await)
    })
    .await;
    for client in owners.iter().chain(&users) {
        eventually("every client's view is what is registered", async || {
            same(&live, &view(client))
        })
        .await;
    }
    // The first leader, and one more for each that was stopped.
    let least = Load { lookups: 1_000, ended: 20, leaders: 4 };
    history.judge(LEASE, &least).unwrap_or_else(|problem| panic!("{problem}"));
}

async fn disturb(nodes: &mut [EtcdServer; 3]) {
    sleep(CALM).await;

    let leader = leader_of(nodes).await;
    nodes[leader].process().kill().await;
    leader_without(nodes, leader).await;
    sleep(CALM).await;
    nodes[leader].restart().await;

    let leader = leader_of(nodes).await;
    nodes[leader].process().signal("STOP").await;
    leader_without(nodes, leader).await;
    sleep(CALM).await;
    nodes[leader].process().signal("CONT").await;

    for n in 0..nodes.len() {
        leader_of(nodes).await;
        sleep(CALM).await;
        nodes[n].restart().await;
        leader_of(nodes).await;
    }
    sleep(CALM).await;
}

async fn leader_of(nodes: &[EtcdServer; 3]) -> usize {
    etcd_leader(&nodes.each_ref()).await
}

/// Waits for a leader among the other members.
async fn leader_without(nodes: &[EtcdServer; 3], gone: usize) {
    let others = nodes.iter().enumerate().filter(|(n, _)| *n != gone);
    etcd_leader(&others.map(|(_, node)| node).collect::<Vec<_>>()).await;
}

async fn start(url: &str, service: Option<&str>) -> Client {
    let builder = Client::builder(open(url).await);
    let builder = match service {
        Some(service) => builder.register(service, "http://10.0.0.7:8885"),
        None => builder,
    };
    // Without full reads meanwhile, so that the view shows only what watches yield.
    let settings = Settings::default().lease_ttl(LEASE).refresh_interval(PATIENCE);
    builder.settings(settings).start().await.expect("also while the cluster is in trouble")
}

/// Looks up the service that always has live instances, and looks at the other one.
async fn look_up(user: Client, name: &'static str, history: Arc<History>) {
    loop {
        history.lookup(user.pick(SERVICE).is_some());
        for instance in user.instances(CHURN) {
            history.seen(name, instance.id(), Instant::now());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Starts clients that live for a while, and then alternately say goodbye or die.
async fn come_and_go(url: String, worker: u64, history: Arc<History>) {
    for round in worker.. {
        let client = start(&url, Some(CHURN)).await;
        sleep(Duration::from_millis(300 + 100 * (round % 10))).await;
        let id = client.id().expect("it is registered").clone();
        if round % 2 == 0 {
            // If the goodbye fails, it counts as a death.
            let _ = client.shutdown().await;
        }
        drop(client);
        history.ended(&id);
    }
}

/// Reads what is registered, bypassing the clients' caches.
async fn observe(url: String, history: Arc<History>) {
    let driver = open(&url).await;
    loop {
        let asked_at = Instant::now();
        if let Ok(Ok(all)) = timeout(Duration::from_secs(2), driver.list()).await {
            for instance in all.iter().filter(|instance| instance.service() == CHURN) {
                history.seen("etcd", instance.id(), asked_at);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Records when any member first knows a leader of a new term.
async fn note_leaders(ports: [u16; 3], history: Arc<History>) {
    let mut last = 0;
    loop {
        for port in ports {
            let status = timeout(Duration::from_millis(500), status(port)).await;
            if let Ok(Ok(status)) = status
                && status.leader() != 0
                && status.raft_term() > last
            {
                last = status.raft_term();
                history.new_leader();
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn status(port: u16) -> Result<StatusResponse, etcd_client::Error> {
    let url = format!("http://127.0.0.1:{port}");
    etcd_client::Client::connect([url], None).await?.status().await
}

async fn registered(node: &EtcdServer) -> BTreeSet<InstanceId> {
    let keys = node.ctl(&["get", "--prefix", "/gosd/instances/", "--keys-only"]).await;
    keys.lines().filter_map(|key| key.strip_prefix("/gosd/instances/")).map(Into::into).collect()
}

fn view(client: &Client) -> BTreeSet<InstanceId> {
    let services = client.services();
    let all = services.iter().flat_map(|service| client.instances(service));
    all.map(|instance| instance.id().clone()).collect()
}

fn same(expected: &BTreeSet<InstanceId>, came: &BTreeSet<InstanceId>) -> Result<(), String> {
    if expected == came { Ok(()) } else { Err(format!("{expected:?} is not {came:?}")) }
}
