//! Services that come and go, as processes over one SQLite file.
#![cfg(target_os = "linux")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd::{Client, Drivers, ErrorKind, Settings};
use rustix::process::Signal;
use support::{Cast, LATE, Process, hear, tell};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The role of a service, whose URL is in the environment.
fn mail() {
    #[expect(clippy::disallowed_methods, reason = "the role's own")]
    let url = std::env::var("url").unwrap();
    let runtime = Runtime::new().unwrap();
    let _client = runtime.block_on(gosd::start("mail", &url)).unwrap();
    tell("ready");
    hear();
}

/// One SQLite file, and processes that use it.
struct Registry {
    cast: Cast,
    url: String,
    _folder: TempDir,
}

impl Registry {
    fn new(test: &'static str) -> Self {
        let cast = Cast::new(test, &[("mail", mail)]);
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("gosd.db").display());
        Self { cast, url, _folder: folder }
    }

    /// Starts a service. It is registered once it prints that it is ready.
    fn start(&self, url: &str) -> Process {
        let env = [("gosdDriver", self.url.as_str()), ("gosdLeaseTTL", "2"), ("url", url)];
        self.cast.start("mail", &env)
    }

    fn mail(&self, url: &str) -> Process {
        let process = self.start(url);
        process.wait_for("ready");
        process
    }

    /// A client in this process that only discovers.
    async fn connect(&self, patience: Duration) -> Client {
        let driver = Drivers::compiled().open(&self.url).await.unwrap();
        let settings = Settings::default()
            .lease_ttl(Duration::from_secs(2))
            .try_find_service_amount(1)
            .try_find_service_delay(patience);
        Client::builder(driver).settings(settings).start().await.unwrap()
    }
}

/// Waits until the client's view consists of exactly these.
async fn seen(client: &Client, expected: &[&str]) {
    let mut changes = client.changes();
    let until = async {
        while urls(client) != expected {
            changes.next().await;
        }
    };
    let seen = timeout(LATE, until).await;
    seen.unwrap_or_else(|_| panic!("{expected:?} expected: {:?}", urls(client)));
}

fn urls(client: &Client) -> Vec<String> {
    let instances = client.instances("mail");
    let mut urls: Vec<String> = instances.iter().map(|instance| instance.url().into()).collect();
    urls.sort_unstable();
    urls
}

/// Picks three rounds. Each has to contain these URLs, in the same order.
fn assert_in_turn(client: &Client, urls: &[&str]) {
    let picks: Vec<String> =
        (0..3 * urls.len()).map(|_| client.pick("mail").unwrap().url().to_owned()).collect();
    let rounds: Vec<&[String]> = picks.chunks(urls.len()).collect();
    assert!(rounds.iter().all(|round| *round == rounds[0]), "{picks:?}");
    let mut round = rounds[0].to_vec();
    round.sort_unstable();
    assert_eq!(round, urls);
}

const A: &str = "http://127.0.0.1:1";
const B: &str = "http://127.0.0.1:2";
const C: &str = "http://127.0.0.1:3";

#[test]
fn services_come_and_go() {
    let registry = Registry::new("services_come_and_go");
    Runtime::new().unwrap().block_on(async {
        let client = registry.connect(Duration::from_millis(10)).await;
        let a = registry.mail(A);
        seen(&client, &[A]).await;
        let b = registry.mail(B);
        seen(&client, &[A, B]).await;
        assert_in_turn(&client, &[A, B]);

        // From here on, until no instance is left, no lookup fails. The lookups use another client, because
        // this one's picks are counted.
        let other = registry.connect(LATE).await;
        let lookups = tokio::spawn(async move {
            let mut mail = other.service("mail");
            let mut count = 0_u64;
            while mail.pick().is_some() {
                count += 1;
                tokio::task::yield_now().await;
            }
            count
        });
        let c = registry.mail(C);
        seen(&client, &[A, B, C]).await;
        assert_in_turn(&client, &[A, B, C]);

        a.signal(Signal::TERM);
        assert_eq!(a.end().0.signal(), Some(Signal::TERM.as_raw()));
        // B said goodbye, so nobody had to wait for its lease to run out.
        assert_eq!(urls(&registry.connect(LATE).await), [B, C]);
        seen(&client, &[B, C]).await;
        b.signal(Signal::KILL);
        seen(&client, &[C]).await;
        // A new process at the URL of one that was killed.
        let b = registry.mail(B);
        seen(&client, &[B, C]).await;
        assert_in_turn(&client, &[B, C]);
        assert!(!lookups.is_finished(), "a lookup failed");

        b.signal(Signal::KILL);
        c.signal(Signal::TERM);
        seen(&client, &[]).await;
        let count = timeout(LATE, lookups).await.unwrap().unwrap();
        assert!(count > 0);
        assert_eq!(client.next("mail").await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_lookup_waits_for_a_service_that_starts_later() {
    let registry = Registry::new("a_lookup_waits_for_a_service_that_starts_later");
    Runtime::new().unwrap().block_on(async {
        let client = Arc::new(registry.connect(LATE).await);
        let lookup = tokio::spawn({
            let client = Arc::clone(&client);
            async move { client.next("mail").await }
        });
        let _a = registry.mail(A);
        assert_eq!(lookup.await.unwrap().unwrap().url(), A);
    });
}

#[test]
fn services_that_start_at_once_find_each_other() {
    let registry = Registry::new("services_that_start_at_once_find_each_other");
    Runtime::new().unwrap().block_on(async {
        let urls: Vec<String> = (10..18).map(|port| format!("http://127.0.0.1:{port}")).collect();
        let started: Vec<Process> = urls.iter().map(|url| registry.start(url)).collect();
        started.iter().for_each(|process| drop(process.wait_for("ready")));
        let client = registry.connect(LATE).await;
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        seen(&client, &urls).await;
        drop(started);
        seen(&client, &[]).await;
    });
}
