//! 1,000 watchers of 5,000 instances that change a hundred times a second, for a minute:
//!
//! `cargo bench -p gosd-server --bench load [-- WATCHERS INSTANCES CHANGES SECONDS]`
//!
//! The server is a process of its own, over the in-memory driver, and shares the machine with the
//! watchers. It fails if a watcher misses a change or ends with another view than the server.
#![allow(clippy::print_stdout, reason = "it reports")]

#[path = "../tests/load/mod.rs"]
mod load;

use std::env;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::Memory;
use gosd_server::{Limits, Settings, serve};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::sleep;

#[tokio::main]
async fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if args.first().is_some_and(|arg| arg == "serve") {
        return server().await;
    }
    let number = |n: usize, default: u32| {
        args.get(n).map_or(default, |arg| arg.parse().expect("arguments are numbers"))
    };
    let plan = load::Plan {
        watchers: number(0, 1_000) as usize,
        instances: number(1, 5_000) as usize,
        changes_per_second: number(2, 100),
        duration: Duration::from_secs(number(3, 60).into()),
    };
    let mut child = Command::new(env::current_exe().expect("a path"))
        .arg("serve")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let address = lines.next_line().await.expect("a line").expect("an address");
    let pid = child.id().expect("it runs");

    let memory = tokio::spawn(async move {
        let mut resident = Vec::new();
        loop {
            resident.extend(status(pid, "VmRSS:"));
            sleep(Duration::from_secs(1)).await;
            if let Some(peak) = resident.iter().max()
                && resident.len().is_multiple_of(15)
            {
                let now = resident.last().unwrap_or(peak);
                println!("memory of the server: {now} KiB now, {peak} KiB at most");
            }
        }
    });
    let report = load::run(&address, &plan).await;
    memory.abort();
    let at = |share: f64| {
        let last = report.latencies.len().saturating_sub(1) as f64;
        report.latencies.get((last * share) as usize).copied().unwrap_or_default() as f64 / 1_000.0
    };
    println!(
        "{} watchers, {} instances, {} changes in {:?}",
        plan.watchers, plan.instances, report.changes, plan.duration
    );
    println!(
        "{} events read, {:.0} a second; {} snapshots beyond the first of each",
        report.events,
        report.events as f64 / plan.duration.as_secs_f64(),
        report.restarts
    );
    println!(
        "from register to a watcher: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms",
        at(0.5),
        at(0.9),
        at(0.99)
    );
    if let Some(peak) = status(pid, "VmHWM:") {
        println!("memory of the server: {peak} KiB at its peak");
    }
}

async fn server() {
    let mut limits = Limits::default();
    limits.requests_per_second = 1_000_000;
    limits.burst = 1_000_000;
    limits.watchers_per_client = 10_000;
    limits.watchers = 10_000;
    let settings = Settings::new().namespace("gosd", Arc::new(Memory::new())).expect("a good name");
    let server = serve("127.0.0.1:0", settings.limits(limits)).await.expect("a port is free");
    println!("{}", server.address());
    std::future::pending::<()>().await;
}

/// The value of a line in `/proc/PID/status`, where the system has that file.
fn status(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}
