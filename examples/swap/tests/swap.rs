//! The same two programs run with every database, which only the environment chooses.
#![cfg(target_os = "linux")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd::{Client, Drivers, Memory, Settings};
use gosd_server::{self as server, Server, serve};
use gosd_testservers::{EtcdServer, MemcachedServer, PostgresServer, RedisServer, free_port};
use rustix::process::Signal;
use support::{LATE, Process};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

const LEASE: Duration = Duration::from_secs(5);
const REFRESH: Duration = Duration::from_secs(1);

/// A database, and how to lose contact with it for a while. Its data may be lost, too.
trait Backend: Sized {
    async fn start() -> Self;
    fn url(&self) -> String;
    async fn restart(&mut self);
}

/// Without a server, the closest to a restart is a new file.
impl Backend for TempDir {
    async fn start() -> Self {
        TempDir::new().unwrap()
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().join("gosd.db").display())
    }

    async fn restart(&mut self) {
        for file in self.path().read_dir().unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

impl Backend for RedisServer {
    async fn start() -> Self {
        RedisServer::start(&[]).await
    }

    fn url(&self) -> String {
        self.url()
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}

impl Backend for PostgresServer {
    async fn start() -> Self {
        PostgresServer::start(&[]).await
    }

    fn url(&self) -> String {
        self.url()
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}

impl Backend for EtcdServer {
    async fn start() -> Self {
        EtcdServer::start(&[]).await
    }

    fn url(&self) -> String {
        format!("etcd://127.0.0.1:{}", self.port())
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}

struct Http {
    server: Option<Server>,
    port: u16,
}

impl Http {
    async fn serve(&mut self) {
        let settings = server::Settings::new().namespace("gosd", Arc::new(Memory::new()));
        self.server = Some(serve(("127.0.0.1", self.port), settings.unwrap()).await.unwrap());
    }
}

impl Backend for Http {
    async fn start() -> Self {
        let mut http = Self { server: None, port: free_port() };
        http.serve().await;
        http
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn restart(&mut self) {
        self.server.take().unwrap().shutdown().await;
        self.serve().await;
    }
}

impl Backend for MemcachedServer {
    async fn start() -> Self {
        MemcachedServer::start().await
    }

    fn url(&self) -> String {
        self.url()
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}

#[test]
fn on_sqlite() {
    Runtime::new().unwrap().block_on(services_come_and_go::<TempDir>());
}

#[test]
fn on_redis() {
    Runtime::new().unwrap().block_on(services_come_and_go::<RedisServer>());
}

#[test]
fn on_postgres() {
    Runtime::new().unwrap().block_on(services_come_and_go::<PostgresServer>());
}

#[test]
fn on_etcd() {
    Runtime::new().unwrap().block_on(services_come_and_go::<EtcdServer>());
}

#[test]
fn on_http() {
    Runtime::new().unwrap().block_on(services_come_and_go::<Http>());
}

#[test]
fn on_memcache() {
    Runtime::new().unwrap().block_on(services_come_and_go::<MemcachedServer>());
}

async fn services_come_and_go<B: Backend>() {
    let mut backend = B::start().await;
    let url = &backend.url();
    let observer = connect(url).await;

    // The consumer waits for the first provider, and the second one starts even later.
    let early = consumer(url);
    let (first, one) = provider(url, "1");
    assert_eq!(early.line(), r#""Provider: 1""#);
    let (second, two) = provider(url, "2");
    seen(&observer, &[&one, &two]).await;
    let late = consumer(url);
    answers(early, 9);
    assert_in_turn(&answers(late, 10), ["1", "2"]);

    // From here on, until no provider is left, no lookup fails.
    let other = connect(url).await;
    let lookups = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        while other.pick("provider").is_some() {
            pace.tick().await;
        }
    });

    // A provider that says goodbye is gone at once: a new client does not find it.
    second.signal(Signal::TERM);
    let (status, said) = second.end();
    assert!(status.success() && said == ["left"], "{status} {said:?}");
    assert_eq!(urls(&connect(url).await), BTreeSet::from([one.clone()]));
    seen(&observer, &[&one]).await;

    // A provider that is killed is gone when its lease has run out.
    let (third, three) = provider(url, "3");
    seen(&observer, &[&one, &three]).await;
    third.signal(Signal::KILL);
    third.end();
    seen(&observer, &[&one]).await;

    // All register again in a database that restarts, and consumers notice nothing meanwhile.
    let (fourth, four) = provider(url, "4");
    seen(&observer, &[&one, &four]).await;
    let during = consumer(url);
    during.line();
    backend.restart().await;
    answers(during, 9);
    seen(&connect(url).await, &[&one, &four]).await;
    assert_in_turn(&answers(consumer(url), 10), ["1", "4"]);

    assert!(!lookups.is_finished(), "a lookup failed");
    for provider in [first, fourth] {
        provider.signal(Signal::TERM);
        assert!(provider.end().0.success());
    }
    seen(&observer, &[]).await;
    timeout(LATE, lookups).await.unwrap().unwrap();
}

fn command(program: &str, url: &str) -> Command {
    let mut command = Command::new(program);
    command.env("gosdDriver", url).env("gosdLeaseTTL", LEASE.as_secs().to_string());
    command.env("gosdRefreshInterval", REFRESH.as_secs().to_string());
    command
}

/// Starts a provider, and returns the URL under which it is registered.
fn provider(url: &str, name: &str) -> (Process, String) {
    let provider =
        Process::start(command(env!("CARGO_BIN_EXE_provider"), url).args(["127.0.0.1:0", name]));
    let at = provider.wait_for("registered at ");
    (provider, at)
}

fn consumer(url: &str) -> Process {
    let mut command = command(env!("CARGO_BIN_EXE_consumer"), url);
    Process::start(command.env("gosdTryFindServiceDelay", LATE.as_secs().to_string()))
}

/// The answers that a consumer got until its end, without an error.
fn answers(consumer: Process, count: usize) -> Vec<String> {
    let (status, answers) = consumer.end();
    assert!(status.success() && answers.len() == count, "{status} {answers:?}");
    answers
}

fn assert_in_turn(answers: &[String], providers: [&str; 2]) {
    let all = providers.map(|name| format!(r#""Provider: {name}""#));
    let first = all.iter().position(|provider| *provider == answers[0]).unwrap();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, all[(first + n) % 2], "{answers:?}");
    }
}

/// A client in this process that only discovers.
async fn connect(url: &str) -> Client {
    let drivers = Drivers::compiled().with("memcache", gosd_memcache::open);
    let settings = Settings::default().lease_ttl(LEASE).refresh_interval(REFRESH);
    let driver = drivers.open(url).await.unwrap();
    Client::builder(driver).settings(settings).start().await.unwrap()
}

fn urls(client: &Client) -> BTreeSet<String> {
    client.instances("provider").iter().map(|instance| instance.url().to_owned()).collect()
}

/// Waits until the client's view consists of exactly these.
async fn seen(client: &Client, expected: &[&String]) {
    let expected: BTreeSet<String> = expected.iter().copied().cloned().collect();
    let mut changes = client.changes();
    let until = async {
        while urls(client) != expected {
            changes.next().await;
        }
    };
    let seen = timeout(LATE, until).await;
    seen.unwrap_or_else(|_| panic!("{expected:?} expected: {:?}", urls(client)));
}

#[test]
fn the_programs_differ_from_the_examples_in_one_statement() {
    let code = |text: &str| {
        let (_, code) = text.split_once("#![expect").unwrap();
        code.split_whitespace().collect::<String>()
    };
    for (example, here, call) in [
        (include_str!("../../provider.rs"), include_str!("../src/bin/provider.rs"), "start("),
        (include_str!("../../consumer.rs"), include_str!("../src/bin/consumer.rs"), "connect("),
    ] {
        let table = r#"gosd::Drivers::compiled().with("memcache",gosd_memcache::open)."#;
        let changed =
            code(example).replacen(&format!("gosd::{call}"), &format!("{table}{call}"), 1);
        assert_eq!(code(here), changed);
    }
}
