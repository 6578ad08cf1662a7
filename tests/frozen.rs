//! A process that stood still for longer than its lease is soon found again, on each driver.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "it is how a process tells the test something")]

mod support;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gosd::{Client, Drivers, Memory, Settings};
use gosd_testservers::{EtcdServer, PostgresServer, RedisServer};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use support::{Cast, LATE};

/// How soon a process that goes on has to be found by all others.
const BACK: Duration = Duration::from_secs(3);

fn cast(test: &'static str) -> Cast {
    let serve = || {
        Runtime::new().unwrap().block_on(async {
            let _client = gosd::start("mail", "http://127.0.0.1:1").await.unwrap();
            println!("started");
            pending::<()>().await;
        });
    };
    Cast::new(test, &[("server", serve)])
}

async fn until_found(viewer: &Client, count: usize) {
    let mut changes = viewer.changes();
    let seen = async {
        while viewer.instances("mail").len() != count {
            changes.next().await.expect("the client is open");
        }
    };
    timeout(LATE, seen).await.unwrap_or_else(|_| panic!("{count} were expected: {viewer:?}"));
}

async fn is_found_again_soon(cast: &Cast, url: &str) {
    let settings = Settings::default()
        .lease_ttl(Duration::from_secs(2))
        .refresh_interval(Duration::from_secs(1));
    let driver = Drivers::compiled().open(url).await.unwrap();
    let viewer = Client::builder(driver).settings(settings).start().await.unwrap();
    let server = cast.start("server", &[("gosdDriver", url), ("gosdLeaseTTL", "2")]);
    server.wait_for("started");
    until_found(&viewer, 1).await;
    server.signal(Signal::STOP);
    until_found(&viewer, 0).await;
    let goes_on = Instant::now();
    server.signal(Signal::CONT);
    until_found(&viewer, 1).await;
    let took = goes_on.elapsed();
    assert!(took <= BACK, "{took:?}");
}

fn judge(cast: &Cast, url: &str) {
    Runtime::new().unwrap().block_on(is_found_again_soon(cast, url));
}

#[test]
fn sqlite() {
    let cast = cast("sqlite");
    let folder = TempDir::new().unwrap();
    judge(&cast, &format!("sqlite:{}", folder.path().join("gosd.db").display()));
}

#[test]
fn redis() {
    let cast = cast("redis");
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(RedisServer::start(&[]));
    judge(&cast, &server.url());
}

#[test]
fn postgres() {
    let cast = cast("postgres");
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(PostgresServer::start(&[]));
    judge(&cast, &server.url());
}

#[test]
fn etcd() {
    let cast = cast("etcd");
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(EtcdServer::start(&[]));
    judge(&cast, &format!("etcd://127.0.0.1:{}", server.port()));
}

#[test]
fn http() {
    let cast = cast("http");
    let runtime = Runtime::new().unwrap();
    let settings = gosd_server::Settings::new().namespace("gosd", Arc::new(Memory::new())).unwrap();
    let server = runtime.block_on(gosd_server::serve("127.0.0.1:0", settings)).unwrap();
    let url = format!("http://{}", server.address());
    judge(&cast, &url);
    judge(&cast, &format!("{url}?watch=off"));
}
