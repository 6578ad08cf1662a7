//! The examples of zones and canaries, run as programs while servers come and go.

use std::process::Stdio;
use std::time::Duration;

use gosd_testservers::Process;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than anything in these tests takes on a busy machine.
const LATE: Duration = Duration::from_secs(60);

fn program(name: &str) -> String {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join(name);
    program.to_str().unwrap().to_owned()
}

struct Registry {
    url: String,
    _folder: TempDir,
}

impl Registry {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("gosd.db").display());
        Self { url, _folder: folder }
    }

    /// Starts a server of the examples, and returns its URL as well.
    async fn server(&self, metadata: &str) -> (Process, String) {
        let environment = [("gosdDriver", self.url.clone())];
        let package = "gosd-reqwest: cargo build --examples";
        let known = self.urls().await;
        let server = program("server");
        let process =
            Process::start_in(&environment, &server, package, [metadata], "registered at").await;
        let new = self.urls().await.into_iter().find(|url| !known.contains(url));
        (process, new.expect("it is registered"))
    }

    async fn urls(&self) -> Vec<String> {
        let driver = gosd::Drivers::compiled().open(&self.url).await.unwrap();
        let all = driver.list().await.unwrap();
        all.iter().map(|it| it.url().to_owned()).collect()
    }

    fn client(&self, name: &str, args: &[&str]) -> Printing {
        let mut command = Command::new(program(name));
        command.args(args).env("gosdDriver", &self.url).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the example is built");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Printing { lines, _child: child }
    }
}

struct Printing {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Printing {
    async fn line(&mut self) -> String {
        let line = timeout(LATE, self.lines.next_line()).await.expect("a line in time");
        line.unwrap().expect("the example goes on")
    }
}

#[tokio::test]
async fn requests_stay_in_a_zone_unless_it_is_empty() {
    let registry = Registry::new();
    let (_far, far) = registry.server("zone=a").await;
    let (mut server, near) = registry.server("zone=b").await;
    let mut client = registry.client("zones", &["b"]);
    for _ in 0..3 {
        assert_eq!(client.line().await, near);
    }
    server.signal("TERM").await;
    server.ended().await;
    // Lines that were printed before the end of the server may still arrive.
    while client.line().await != far {}
    let (_server, near) = registry.server("zone=b").await;
    while client.line().await != near {}
}

#[tokio::test]
async fn one_customer_in_twenty_gets_the_canary() {
    let registry = Registry::new();
    let (_stable, stable) = registry.server("version=1").await;
    let (_canary, canary) = registry.server("canary=yes").await;
    let mut client = registry.client("canary", &[]);
    for customer in 0..10 {
        let url = if customer < 5 { &canary } else { &stable };
        assert_eq!(client.line().await, format!("customer {customer}: {url}"));
    }
}
