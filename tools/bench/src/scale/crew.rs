//! The processes of a fleet, as seen from the one that gives them orders.

use std::collections::BTreeMap;
use std::process::Stdio;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How many clients a process has.
const CLIENTS: usize = 250;

/// A process, which answers each line with one.
struct Agent {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Agent {
    fn start(arguments: &[String]) -> Self {
        let program = std::env::current_exe().expect("the program has a path");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("this program can be started");
        let orders = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, orders, answers }
    }

    async fn answer(&mut self) -> String {
        self.answers.next_line().await.expect("a line").expect("the process lives")
    }
}

/// All processes of a fleet, which are killed when this is dropped.
pub struct Crew(Vec<Agent>);

impl Crew {
    /// Starts processes for so many clients of a database, and waits until all have started.
    pub async fn start(url: &str, clients: usize) -> Self {
        let arguments = |first: usize, count: usize| {
            vec![
                "agent".into(),
                reached(url, first / CLIENTS),
                first.to_string(),
                count.to_string(),
            ]
        };
        Self::start_with(clients, arguments).await
    }

    /// Starts processes for so many bare subscribers.
    pub async fn start_bare(kind: &str, address: &str, subscribers: usize) -> Self {
        let arguments =
            |_, count: usize| vec!["bare".into(), kind.into(), address.into(), count.to_string()];
        Self::start_with(subscribers, arguments).await
    }

    async fn start_with(total: usize, arguments: impl Fn(usize, usize) -> Vec<String>) -> Self {
        let firsts = (0..total).step_by(CLIENTS);
        let agents =
            firsts.map(|first| Agent::start(&arguments(first, CLIENTS.min(total - first))));
        let mut crew = Self(agents.collect());
        join_all(crew.0.iter_mut().map(Agent::answer)).await;
        crew
    }

    pub fn processes(&self) -> Vec<u32> {
        self.0.iter().filter_map(|agent| agent.child.id()).collect()
    }

    /// Gives all the same order, and waits until all have answered.
    pub async fn order(&mut self, order: &str) -> Vec<String> {
        let line = format!("{order}\n");
        join_all(self.0.iter_mut().map(async |agent| {
            agent.orders.write_all(line.as_bytes()).await.expect("the process lives");
            agent.answer().await
        }))
        .await
    }

    /// Waits until so many have seen each of the changes; returns when, by change.
    pub async fn arrivals(&mut self, changes: usize, watchers: usize) -> BTreeMap<u64, Vec<u128>> {
        let mut all = BTreeMap::<u64, Vec<u128>>::new();
        loop {
            for line in self.order("arrivals").await {
                for item in line.split(' ').filter(|item| !item.is_empty()) {
                    let (change, at) = item.split_once(':').expect("two numbers");
                    let at = at.parse().expect("a time");
                    all.entry(change.parse().expect("a number")).or_default().push(at);
                }
            }
            if all.len() == changes && all.values().all(|times| times.len() == watchers) {
                return all;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

/// The URL by which a process of the fleet reaches the database.
///
/// It has an address of the registry servers to itself, all of them on the loopback interface. By one address
/// a machine has some 28,000 connections, those that have ended a moment ago among them, and on the way
/// there each new one costs more time; a fleet of many hosts has so many for each.
fn reached(url: &str, process: usize) -> String {
    match url.starts_with("http:") {
        true => url.replace("127.0.0.1", &format!("127.0.1.{}", process + 1)),
        false => url.to_owned(),
    }
}
