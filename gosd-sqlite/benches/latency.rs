//! How soon a change is seen by another process, and what watching costs while nothing happens.
//!
//! `cargo bench -p gosd-sqlite --bench latency`
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark's report")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use gosd_core::{Event, Instance};
use notify::{EventKind, RecursiveMode, Watcher};
use rusqlite::Connection;
use tokio::runtime::Runtime;

const ROUNDS: usize = 5;
const CHANGES: usize = 200;
const IDLE: Duration = Duration::from_secs(20);
/// The pause between two changes, in which the watcher falls asleep; it takes together what comes within 50 ms.
const PAUSE: Duration = Duration::from_millis(60);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path = |at: usize| PathBuf::from(&arguments[at]);
    match arguments.get(1).map(String::as_str) {
        Some("watch") => watch(&path(2)),
        Some("wake") => wake(&path(2)),
        _ => report(),
    }
}

fn report() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    println!("us, medians of {CHANGES} changes in each of {ROUNDS} rounds\n");
    println!("{:24}{:>8}{:>8}{:>8}", "", "insert", "wake-up", "change");
    let mut rounds = Vec::new();
    let mut tails = Vec::new();
    for round in 0..ROUNDS {
        let insert = quantiles(insert(&folder.join(format!("bare-{round}.db"))));
        let wake = quantiles(wake_up(&folder.join(format!("bell-{round}"))));
        let change = quantiles(change(&folder.join(format!("gosd-{round}.db"))));
        println!("{:24}{:8.1}{:8.1}{:8.1}", format!("round {round}"), insert.0, wake.0, change.0);
        rounds.push([insert.0, wake.0, change.0]);
        tails.push([insert.1, wake.1, change.1]);
    }
    for (name, rows) in [("median", &rounds), ("99th percentile", &tails)] {
        let [insert, wake, change] = [0, 1, 2].map(|column| {
            let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        });
        println!("{name:24}{insert:8.1}{wake:8.1}{change:8.1}");
        println!("{:24}{:>24.2}", "  change / (both)", change / (insert + wake));
    }
    println!("\ninsert: one row, one transaction, plain SQLite (WAL, synchronous=NORMAL)");
    println!("wake-up: one byte written to a file that another process watches");
    println!("change: `register`, until the `Put` in another process\n");
    idle(&folder.join("idle.db"));
}

/// The time of each bare insert.
fn insert(path: &Path) -> Vec<Duration> {
    let db = Connection::open(path).expect("a database");
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t (a)")
        .expect("a table");
    let mut insert = db.prepare("INSERT INTO t VALUES (?1)").expect("a statement");
    (0..CHANGES)
        .map(|_| {
            pause();
            let start = Instant::now();
            insert.execute([1]).expect("a row");
            start.elapsed()
        })
        .collect()
}

fn wake_up(path: &Path) -> Vec<Duration> {
    let mut file = File::create(path).expect("a file");
    let mut other = Other::start("wake", path);
    (0..CHANGES)
        .map(|_| {
            pause();
            let start = now();
            file.write_all(b"!").expect("a byte");
            other.heard().saturating_sub(start)
        })
        .collect()
}

fn change(path: &Path) -> Vec<Duration> {
    let runtime = Runtime::new().expect("a runtime");
    let mut other = Other::start("watch", path);
    let url = format!("sqlite:{}", path.display());
    runtime.block_on(async {
        let driver = gosd_sqlite::open(&url).await.expect("a driver");
        let mut delays = Vec::new();
        for _ in 0..CHANGES {
            let instance = Instance::new("mail", "http://10.0.0.7:25").expect("an instance");
            pause();
            let start = now();
            driver.register(&instance, Duration::from_secs(600)).await.expect("registered");
            delays.push(other.heard().saturating_sub(start));
        }
        delays
    })
}

/// In the other process: prints when each change was seen.
fn watch(path: &Path) {
    let url = format!("sqlite:{}", path.display());
    Runtime::new().expect("a runtime").block_on(async {
        let driver = gosd_sqlite::open(&url).await.expect("a driver");
        let mut watch = driver.watch().expect("a watch");
        while let Some(item) = watch.next().await {
            let seen = now();
            if let Event::Reset(_) = item.expect("no error") {
                println!("ready");
                end_with_stdin();
            } else {
                println!("{}", seen.as_nanos());
            }
        }
    });
}

/// In the other process: prints when each write to the file was seen.
fn wake(path: &Path) {
    let (heard, wakes) = mpsc::channel();
    let on_event = move |event: notify::Result<notify::Event>| {
        if let EventKind::Modify(_) = event.expect("an event").kind {
            heard.send(now()).expect("it listens");
        }
    };
    let mut watcher = notify::recommended_watcher(on_event).expect("a watcher");
    watcher.watch(path, RecursiveMode::NonRecursive).expect("a watch");
    println!("ready");
    end_with_stdin();
    for seen in wakes {
        println!("{}", seen.as_nanos());
    }
}

/// The share of a core that a process uses that only watches some instances.
fn idle(path: &Path) {
    let url = format!("sqlite:{}", path.display());
    for instances in [10, 10_000] {
        Runtime::new().expect("a runtime").block_on(async {
            let driver = gosd_sqlite::open(&url).await.expect("a driver");
            let have = driver.list().await.expect("a list").len();
            for _ in have..instances {
                let instance = Instance::new("mail", "http://10.0.0.7:25").expect("an instance");
                driver.register(&instance, Duration::from_secs(600)).await.expect("registered");
            }
        });
        let other = Other::start("watch", path);
        let before = other.cpu();
        std::thread::sleep(IDLE);
        let share = 100.0 * (other.cpu() - before).as_secs_f64() / IDLE.as_secs_f64();
        println!("an idle watcher of {instances} instances takes {share:.3} % of a core");
    }
}

/// This program again, as a process that ends with this one.
struct Other {
    child: Child,
    _stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Other {
    fn start(role: &str, path: &Path) -> Self {
        let this = std::env::current_exe().expect("a path");
        let mut child = Command::new(this)
            .arg(role)
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let stdin = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut other = Self { child, _stdin: stdin, lines };
        assert_eq!(other.line(), "ready");
        other
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// When the process saw the change, as a time since 1970.
    fn heard(&mut self) -> Duration {
        Duration::from_nanos(self.line().parse().expect("a number"))
    }

    /// The processor time of all its threads so far.
    fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux");
        let spent = threads.map(|thread| {
            let stat = fs::read_to_string(thread.expect("a thread").path().join("schedstat"));
            let stat = stat.expect("it is there");
            stat.split(' ').next().expect("a field").parse::<u64>().expect("ns")
        });
        Duration::from_nanos(spent.sum())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn end_with_stdin() {
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
}

/// The clock that all processes share.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

fn pause() {
    std::thread::sleep(PAUSE);
}

/// The median and the 99th percentile, in us.
fn quantiles(mut delays: Vec<Duration>) -> (f64, f64) {
    delays.sort_unstable();
    let at = |share: usize| delays[delays.len() * share / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}
