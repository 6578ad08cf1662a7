//! What a server and its clients pay for clients that watch everything, and for clients on demand:
//!
//! `cargo bench -p gosd-server --bench on_demand [-- CLIENTS SERVICES SECONDS]`
//!
//! By default 1,000 clients in four processes, of which each looks up 2 of 50 services, and 1,000 instances, of which
//! each is replaced once within 60 s. The server is in a process of its own, over the in-memory driver, and so
//! has no other work; processor times are Linux's account of the processes, and bytes are those that `ss`
//! counts on the server's connections. It fails if at the end a client shows other instances than there are.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::env;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Client, Driver, Instance, Memory, Settings as ClientSettings};
use gosd_server::{Limits, Settings, serve};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, sleep_until};

const PROCESSES: usize = 4;
const IDLE: Duration = Duration::from_secs(20);
/// Longer than the bench takes.
const LEASE: Duration = Duration::from_secs(86_400);
/// Ticks of the process clock in a second, on every Linux there is.
const TICKS: f64 = 100.0;

/// What is simulated.
#[derive(Clone, Copy)]
struct Plan {
    clients: usize,
    services: usize,
    duration: Duration,
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    match args.first().map(String::as_str) {
        Some("serve") => return server(&args[1..]).await,
        Some("clients") => return clients(&args[1..]).await,
        _ => {}
    }
    let number =
        |n: usize, default| args.get(n).map_or(default, |it| it.parse().expect("a number"));
    let plan = Plan {
        clients: number(0, 1_000),
        services: number(1, 50),
        duration: Duration::from_secs(number(2, 60) as u64),
    };
    let Plan { clients, services, duration } = plan;
    println!(
        "{clients} clients, each of which looks up 2 of {services} services, and {clients} instances, all \
         replaced within {duration:?}\n"
    );
    println!(
        "| watching | server, idle | sent, idle, KB/s | server, rollout | sent, rollout, MB | clients, rollout | a client, KB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for on_demand in [false, true] {
        println!("{}", measure(plan, on_demand).await);
    }
}

/// A process of this bench, which answers each line with a line.
struct Process {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(args: &[String]) -> Self {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the process starts");
        let asks = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, asks, answers }
    }

    async fn answer(&mut self) -> String {
        self.answers.next_line().await.expect("a line").expect("the process goes on")
    }

    async fn ask(&mut self, line: &str) -> String {
        self.asks.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
        self.answer().await
    }

    /// The processor time so far in s, and the memory in KB.
    fn used(&self) -> (f64, f64) {
        let pid = self.child.id().expect("it runs");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("this is Linux");
        let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
        let fields: Vec<f64> =
            fields.split(' ').map(|it| it.trim().parse().unwrap_or(0.0)).collect();
        ((fields[11] + fields[12]) / TICKS, fields[21] * 4.096)
    }
}

/// One row of the table.
async fn measure(plan: Plan, on_demand: bool) -> String {
    let mut server =
        Process::start(&["serve".into(), plan.clients.to_string(), plan.services.to_string()]);
    let address = server.answer().await;
    let share = plan.clients / PROCESSES;
    let mut crews: Vec<Process> = (0..PROCESSES)
        .map(|n| {
            let numbers = [n * share, share, plan.services].map(|it| it.to_string());
            let [first, count, services] = numbers;
            let mode = on_demand.to_string();
            Process::start(&["clients".into(), address.clone(), first, count, services, mode])
        })
        .collect();
    for crew in &mut crews {
        crew.answer().await;
    }
    // The connections of the start have ended.
    sleep(Duration::from_secs(10)).await;
    let (used, sent) = (server.used().0, sent(&address));
    sleep(IDLE).await;
    let idle = (server.used().0 - used) / IDLE.as_secs_f64();
    let (used, sent_before) = (server.used().0, self::sent(&address));
    let sent_idle = (sent_before - sent) / IDLE.as_secs_f64() / 1e3;
    let crew_used = crews.iter().map(|crew| crew.used().0).sum::<f64>();
    server.ask(&format!("roll {}", plan.duration.as_secs())).await;
    let rollout = (server.used().0 - used) / plan.duration.as_secs_f64();
    let sent_rollout = (self::sent(&address) - sent_before) / 1e6;
    let crew_used = crews.iter().map(|crew| crew.used().0).sum::<f64>() - crew_used;
    sleep(Duration::from_secs(2)).await;
    for crew in &mut crews {
        let shown = crew.ask("show").await;
        let expected = format!("{}", 2 * share * (plan.clients / plan.services));
        assert_eq!(shown, expected, "what the clients show of what they look up");
    }
    let memory = crews.iter().map(|crew| crew.used().1).sum::<f64>() / plan.clients as f64;
    let name = if on_demand { "on demand" } else { "everything" };
    format!(
        "| {name} | {:.1} % | {sent_idle:.0} | {:.1} % | {sent_rollout:.1} | {:.0} % | {memory:.0} |",
        idle * 100.0,
        rollout * 100.0,
        crew_used / plan.duration.as_secs_f64() * 100.0,
    )
}

/// The bytes that the server has sent on the connections that are open.
fn sent(address: &str) -> f64 {
    let output = std::process::Command::new("ss")
        .args(["-tinH", "state", "established", "src", address])
        .output()
        .expect("`ss`, of iproute2, counts the bytes");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = text.split_whitespace().filter_map(|part| part.strip_prefix("bytes_sent:"));
    let sum = counts.map(|count| count.parse::<f64>().expect("a number")).sum();
    assert!(sum > 0.0, "`ss` found no connection of {address}: {text}");
    sum
}

fn service(n: usize, services: usize) -> String {
    format!("service-{}", n % services)
}

/// The server: its registry changes as it is told.
async fn server(args: &[String]) {
    let number = |n: usize| args[n].parse::<usize>().expect("a number");
    let (instances, services) = (number(0), number(1));
    let mut limits = Limits::default();
    limits.requests_per_second = 1_000_000;
    limits.burst = 1_000_000;
    limits.watchers_per_client = 100_000;
    limits.watchers = 100_000;
    limits.connections = 100_000;
    limits.connections_per_client = 100_000;
    let memory = Memory::new();
    let settings = Settings::new().namespace("gosd", Arc::new(memory.clone())).expect("a name");
    let server = serve("127.0.0.1:0", settings.limits(limits)).await.expect("a port is free");
    let new = |n: usize| {
        let url = format!("http://10.{}.{}.1:8885", n / 250, n % 250);
        Instance::new(&service(n, services), &url).expect("a good name and URL")
    };
    let mut all: Vec<Instance> = (0..instances).map(new).collect();
    for instance in &all {
        memory.register(instance, LEASE).await.expect("memory takes it");
    }
    println!("{}", server.address());
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let seconds: u64 = line.strip_prefix("roll ").expect("what to do").parse().expect("s");
        let (begun, step) = (Instant::now(), Duration::from_secs(seconds) / instances as u32);
        for (n, instance) in all.iter_mut().enumerate() {
            sleep_until(begun + step * n as u32).await;
            let old = std::mem::replace(instance, new(n));
            memory.register(instance, LEASE).await.expect("memory takes it");
            memory.deregister(old.id()).await.expect("memory takes it");
        }
        sleep_until(begun + Duration::from_secs(seconds)).await;
        println!("rolled");
    }
}

/// A process of clients.
async fn clients(args: &[String]) {
    let number = |n: usize| args[n].parse::<usize>().expect("a number");
    let (first, count, services) = (number(1), number(2), number(3));
    let settings = ClientSettings::default().watch_on_demand(args[4] == "true");
    let names = |n: usize| [service(n, services), service(n + 1 + n / services, services)];
    let mut all = Vec::new();
    for n in first..first + count {
        let driver = gosd_http::open(&format!("http://{}", args[0])).await.expect("a good URL");
        let client =
            Client::builder(driver).settings(settings.clone()).start().await.expect("it starts");
        for name in names(n) {
            let _ = client.service(&name);
        }
        all.push((n, client));
    }
    for (n, client) in &all {
        for name in names(*n) {
            client.next(&name).await.expect("it is registered");
        }
    }
    println!("ready");
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        let shown =
            all.iter().flat_map(|(n, client)| names(*n).map(|it| client.instances(&it).len()));
        println!("{}", shown.sum::<usize>());
    }
}
