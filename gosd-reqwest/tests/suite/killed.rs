//! Real processes over one SQLite file, of which one is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gosd::{Client, Drivers, Instance, Settings};
use gosd_reqwest::SendBy;
use gosd_testservers::Process;
use reqwest::Response;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::spans::attempts_at;
use crate::support::{http, nobody, with_settings};

const REQUESTS: usize = 3_000;
const TASKS: usize = 12;
/// In s. The record of a server that was killed outlives the test, on a busy machine too.
const LEASE: u64 = 600;

struct Fleet {
    gosd: Client,
    servers: Vec<(Process, Arc<Instance>)>,
    _folder: TempDir,
}

impl Fleet {
    /// Starts three servers of the examples, and a client that knows them.
    async fn start() -> Self {
        gosd_testservers::collect_spans();
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("gosd.db").display());
        let driver = Drivers::compiled().open(&url).await.unwrap();
        // An ejected instance stays out of the rotation for longer than the test takes.
        let settings = Settings::default()
            .eject_for(Duration::from_secs(LEASE))
            .lease_ttl(Duration::from_secs(LEASE));
        let gosd = Client::builder(driver).settings(settings).start().await.unwrap();
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().with_file_name("examples").join("server");
        let program = program.to_str().unwrap();
        let mut servers: Vec<(Process, Arc<Instance>)> = Vec::new();
        for _ in 0..3 {
            let environment = [("gosdDriver", url.clone()), ("gosdLeaseTTL", LEASE.to_string())];
            let package = "gosd-reqwest: cargo build --examples";
            let none: [&str; 0] = [];
            let process =
                Process::start_in(&environment, program, package, none, "registered at").await;
            gosd.refresh().await.unwrap();
            let is_new =
                |it: &Arc<Instance>| servers.iter().all(|(_, known)| known.id() != it.id());
            let instance = gosd.instances("orders").into_iter().find(is_new).unwrap();
            servers.push((process, instance));
        }
        Self { gosd, servers, _folder: folder }
    }
}

async fn name(answer: Response) -> String {
    answer.error_for_status().unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_get_a_third_each() {
    let fleet = Fleet::start().await;
    let http = http();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (gosd, http) = (fleet.gosd.clone(), http.clone());
        tasks.spawn(async move {
            let mut counts = BTreeMap::new();
            for _ in 0..REQUESTS / TASKS {
                let answer = http.get("gosd://orders/name").send_by(&gosd).await.unwrap();
                *counts.entry(name(answer).await).or_insert(0) += 1;
            }
            counts
        });
    }
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for (name, count) in tasks.join_all().await.into_iter().flatten() {
        *all.entry(name).or_default() += count;
    }
    let urls = fleet.servers.iter().map(|(_, it)| it.url().to_owned());
    assert_eq!(all, urls.map(|url| (url, REQUESTS / 3)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_fails_no_request() {
    let mut fleet = Fleet::start().await;
    let http = http();
    let (sent, is_time) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (gosd, http) = (fleet.gosd.clone(), http.clone());
        let (sent, is_time) = (Arc::clone(&sent), Arc::clone(&is_time));
        tasks.spawn(async move {
            while sent.fetch_add(1, Ordering::SeqCst) < REQUESTS {
                if sent.load(Ordering::SeqCst) == 500 {
                    is_time.notify_one();
                }
                let answer = http.get("gosd://orders/name").send_by(&gosd).await.unwrap();
                name(answer).await;
            }
        });
    }
    is_time.notified().await;
    let (mut process, dead) = fleet.servers.remove(0);
    process.kill().await;
    tasks.join_all().await;
    assert_eq!(fleet.gosd.ejected(), [dead]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_goes_to_a_dead_server_after_three_failures() {
    let mut fleet = Fleet::start().await;
    let http = http();
    for _ in 0..300 {
        name(http.get("gosd://orders/name").send_by(&fleet.gosd).await.unwrap()).await;
    }
    let (mut process, dead) = fleet.servers.remove(0);
    assert_eq!(attempts_at(dead.url()), 100);
    process.kill().await;
    for _ in 0..300 {
        // Nothing is sent to the dead server, so any request may go to another one.
        http.get("gosd://orders/name").send_by(&fleet.gosd).await.unwrap();
    }
    assert_eq!(attempts_at(dead.url()), 100 + 3);
}

/// How many of the requests of 64 tasks fail where one of two instances is dead and stays in rotation.
async fn failed<F>(send: impl Fn(reqwest::Client, Client) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let live = crate::server::Server::start(crate::server::Reply::Status(200)).await;
    let gosd = with_settings(Settings::default().eject_after(0), [nobody(), live.url()]).await;
    let http = http();
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let requests: Vec<_> = (0..20).map(|_| send(http.clone(), gosd.clone())).collect();
        tasks.spawn(async move {
            let mut failed = 0;
            for request in requests {
                failed += usize::from(!request.await);
            }
            failed
        });
    }
    tasks.join_all().await.into_iter().sum()
}

#[tokio::test]
async fn of_many_concurrent_requests_all_find_the_living_instance() {
    let send = async |http: reqwest::Client, gosd: Client| {
        http.post("gosd://orders/").send_by(&gosd).await.is_ok()
    };
    assert_eq!(failed(move |http, gosd| Box::pin(send(http, gosd))).await, 0);
}

/// The naive loop over `next`, which shows why `send_by` uses a turn.
#[tokio::test]
async fn with_a_loop_over_next_some_requests_fail() {
    let naive = |http: reqwest::Client, gosd: Client| async move {
        for _ in 0..2 {
            let instance = gosd.next("orders").await.unwrap();
            if http.post(instance.url_with("/")).send().await.is_ok() {
                return true;
            }
        }
        false
    };
    assert!(failed(naive).await > 0);
}
