//! Starts with only the environment, on each driver: with the database down, and with a wrong setting.
#![cfg(target_os = "linux")]

#[path = "starting/postgres.rs"]
mod postgres;
mod support;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use gosd::{Client, Drivers, Memory, Registration, View};
use gosd_server as server;
use gosd_testservers::{EtcdServer, RedisServer, Warnings, free_port};
use support::{Cast, LATE, Process, hear, tell};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The value of every password, which must not be printed anywhere.
const SECRET: &str = "sesame";
/// In ms: a refused connection is noticed at once, even on a busy machine earlier than the bound of a call.
const AT_ONCE: RangeInclusive<u64> = 0..=5_000;
/// In ms: one attempt that gets no answer.
const ONE_CALL: RangeInclusive<u64> = 1_000..=15_000;

/// The role of a service, which prints its status.
fn service() {
    let warnings = Warnings(|line| tell(&format!("warning {line}")));
    tracing::subscriber::set_global_default(warnings).unwrap();
    Runtime::new().unwrap().block_on(async {
        let begun = Instant::now();
        let started = gosd::start("mail", "http://127.0.0.1:1").await;
        tell(&format!("took {}", begun.elapsed().as_millis()));
        match started {
            Err(error) => tell(&format!("error {:?} {error}", error.kind())),
            Ok(client) => {
                tell(&format!("started {:?}", client.status()));
                registered(&client).await;
                tell("registered");
                hear();
                client.shutdown().await.unwrap();
                tell("left");
            }
        }
    });
}

async fn registered(client: &Client) {
    let mut statuses = client.status_changes();
    let is_well = async {
        while let Some(status) = statuses.next().await {
            if matches!(
                (&status.registration, &status.view),
                (Registration::Registered, View::Fresh)
            ) {
                return;
            }
        }
    };
    timeout(LATE, is_well).await.expect("it registers by itself");
}

/// What a start printed until its end: how long it took in ms, the warnings, and the result.
fn outcome(process: &Process) -> (u64, Vec<String>, String) {
    let mut warnings = Vec::new();
    let mut took = None;
    loop {
        let line = process.line();
        assert!(!line.contains(SECRET), "{line}");
        if let Some(ms) = line.strip_prefix("took ") {
            took = ms.parse().ok();
        } else if let Some(warning) = line.strip_prefix("warning ") {
            warnings.push(warning.to_owned());
        } else if line.starts_with("started ") || line.starts_with("error ") {
            return (took.expect("the time comes first"), warnings, line);
        }
    }
}

/// Starts a service while its database is down. It starts all the same, with one warning.
fn standalone(
    cast: &Cast,
    env: &[(&str, &str)],
    takes: RangeInclusive<u64>,
    because: &str,
) -> Process {
    let process = cast.start("service", env);
    let (took, warnings, outcome) = outcome(&process);
    assert!(outcome.contains("Standalone") && outcome.contains("view: Unknown"), "{outcome}");
    assert!(outcome.contains(because), "{outcome}");
    assert!(takes.contains(&took), "{took} ms: {outcome}");
    let standalone = |warning: &&String| warning.contains("standalone");
    assert_eq!(warnings.iter().filter(standalone).count(), 1, "{warnings:?}");
    process
}

/// Once the database is up, the service registers, others see it, and it leaves.
async fn registers(mut process: Process, url: &str) {
    process.wait_for("registered");
    let driver = Drivers::compiled().open(url).await.unwrap();
    let at =
        |all: Vec<gosd::Instance>| all.iter().map(|it| it.url().to_owned()).collect::<Vec<_>>();
    assert_eq!(at(driver.list().await.unwrap()), ["http://127.0.0.1:1"]);
    process.say("leave");
    process.wait_for("left");
    assert!(driver.list().await.unwrap().is_empty());
}

/// Starts a service with a wrong setting, which is an error at once.
fn refused(cast: &Cast, url: &str, kind: &str, because: &str) {
    let process = cast.start("service", &[("gosdDriver", url)]);
    let (took, _, outcome) = outcome(&process);
    assert!(outcome.starts_with(&format!("error {kind} ")), "{url}: {outcome}");
    assert!(outcome.contains(because), "{url}: {outcome}");
    assert!(AT_ONCE.contains(&took), "{url}: {took} ms");
}

/// The tests block while they wait for processes, so the servers' output needs other threads.
fn on_tokio(test: impl Future<Output = ()>) {
    Runtime::new().unwrap().block_on(test);
}

fn cast(test: &'static str) -> Cast {
    Cast::new(test, &[("service", service)])
}

#[test]
fn settings_that_no_driver_can_use() {
    let cast = cast("settings_that_no_driver_can_use");
    for (url, because) in [
        ("mysql://u:sesame@h", "\"mysql\", which is unknown"),
        ("sqlite://u:sesame@h/x.db", "sqlite"),
        ("redis://u:sesame@h:x", "port"),
        ("redis://u:1/sesame@h", "%2F"),
        ("redis://h?pasword=sesame", "pasword"),
    ] {
        refused(&cast, url, "Config", because);
    }
}

#[test]
fn sqlite_without_its_folder() {
    let cast = cast("sqlite_without_its_folder");
    on_tokio(async {
        let folder = TempDir::new().unwrap();
        let missing = folder.path().join("later");
        let url = format!("sqlite:{}", missing.join("gosd.db").display());
        let process = standalone(&cast, &[("gosdDriver", &url)], AT_ONCE, "create it");
        std::fs::create_dir(&missing).unwrap();
        registers(process, &url).await;
    });
}

#[test]
fn sqlite_that_is_locked() {
    let cast = cast("sqlite_that_is_locked");
    on_tokio(async {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("gosd.db");
        let locker = rusqlite::Connection::open(&path).unwrap();
        locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let url = format!("sqlite:{}", path.display());
        let env = [("gosdDriver", url.as_str()), ("gosdTryRefreshAmount", "1")];
        let process = standalone(&cast, &env, ONE_CALL, "sqlite: register");
        locker.execute_batch("ROLLBACK").unwrap();
        registers(process, &url).await;
    });
}

#[test]
fn sqlite_that_cannot_work() {
    let cast = cast("sqlite_that_cannot_work");
    let folder = TempDir::new().unwrap();
    let other = folder.path().join("notes.txt");
    std::fs::write(&other, "no database, and longer than a header of SQLite would be: ".repeat(9))
        .unwrap();
    let url = |path: &std::path::Path| format!("sqlite:{}", path.display());
    refused(&cast, &url(folder.path()), "Data", "folder");
    refused(&cast, &url(&other), "Data", "no database");
    refused(&cast, &url(&other.join("gosd.db")), "Denied", "folder");
}

#[test]
fn redis_that_is_down() {
    let cast = cast("redis_that_is_down");
    on_tokio(async {
        let port = free_port();
        let url = format!("redis://:{SECRET}@127.0.0.1:{port}");
        let process = standalone(&cast, &[("gosdDriver", &url)], AT_ONCE, "is the server running");
        let _server = RedisServer::start_at(port, &["--requirepass", SECRET]).await;
        registers(process, &url).await;
    });
}

#[test]
fn redis_that_is_down_by_the_variables_of_the_go_library() {
    let cast = cast("redis_that_is_down_by_the_variables_of_the_go_library");
    on_tokio(async {
        let port = free_port();
        let addr = format!("127.0.0.1:{port}");
        let env =
            [("gosdRedisAddr", addr.as_str()), ("gosdRedisDB", "3"), ("gosdRedisPassword", SECRET)];
        let process = standalone(&cast, &env, AT_ONCE, "is the server running");
        let _server = RedisServer::start_at(port, &["--requirepass", SECRET]).await;
        registers(process, &format!("redis://:{SECRET}@{addr}/3")).await;
    });
}

#[test]
fn redis_that_does_not_answer() {
    let cast = cast("redis_that_does_not_answer");
    on_tokio(async {
        // Connections are queued, and nobody accepts them.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("redis://127.0.0.1:{port}");
        let env = [("gosdDriver", url.as_str()), ("gosdTryRefreshAmount", "1")];
        let process = standalone(&cast, &env, ONE_CALL, "127.0.0.1");
        drop(silent);
        let _server = RedisServer::start_at(port, &[]).await;
        registers(process, &url).await;
    });
}

#[test]
fn redis_that_cannot_work() {
    let cast = cast("redis_that_cannot_work");
    on_tokio(async {
        let server = RedisServer::start(&["--requirepass", "open"]).await;
        let port = server.port();
        let with = |login: &str, rest: &str| format!("redis://{login}127.0.0.1:{port}{rest}");
        refused(&cast, &with("", ""), "Denied", "password");
        refused(&cast, &with(":sesame@", ""), "Denied", "password");
        refused(&cast, &with(":open@", "/99"), "Config", "database");
        let mut connection = server.connect(Some("open")).await;
        let _: () =
            redis::cmd("SET").arg("gosd").arg("x").query_async(&mut connection).await.unwrap();
        refused(&cast, &with(":open@", ""), "Data", "namespace");
        refused(&cast, &with(":open@", "").replace("redis:", "rediss:"), "Config", "TLS");
    });
}

#[test]
fn etcd_that_is_down() {
    let cast = cast("etcd_that_is_down");
    on_tokio(async {
        let mut server = EtcdServer::start(&[]).await;
        server.process().kill().await;
        let url = format!("etcd://127.0.0.1:{}", server.port());
        let process = standalone(&cast, &[("gosdDriver", &url)], AT_ONCE, "does etcd run there");
        server.restart().await;
        registers(process, &url).await;
    });
}

#[test]
fn etcd_that_does_not_answer() {
    let cast = cast("etcd_that_does_not_answer");
    on_tokio(async {
        let mut server = EtcdServer::start(&[]).await;
        server.process().signal("STOP").await;
        let url = format!("etcd://127.0.0.1:{}", server.port());
        let env = [("gosdDriver", url.as_str()), ("gosdTryRefreshAmount", "1")];
        let process = standalone(&cast, &env, ONE_CALL, "etcd: ");
        server.process().signal("CONT").await;
        registers(process, &url).await;
    });
}

#[test]
fn etcd_that_cannot_work() {
    let cast = cast("etcd_that_cannot_work");
    on_tokio(async {
        let mut server = EtcdServer::start(&[]).await;
        server.enable_auth("/gosd/").await;
        let with =
            |login: &str, rest: &str| format!("etcd://{login}127.0.0.1:{}{rest}", server.port());
        refused(&cast, &with("", ""), "Denied", "password");
        refused(&cast, &with("gosd:sesame@", ""), "Denied", "password");
        refused(&cast, &with("gosd:p%40ss@", "?namespace=other"), "Denied", "ermission");
        refused(&cast, &with("gosd:p%40ss@", "/gosd"), "Config", "path");
    });
}

/// A registry server with a token that contains the secret.
fn http_registry() -> server::Settings {
    let settings = server::Settings::new().token(&format!("{SECRET}-{SECRET}-{SECRET}")).unwrap();
    settings.namespace("gosd", Arc::new(Memory::new())).unwrap()
}

#[test]
fn http_that_is_down() {
    let cast = cast("http_that_is_down");
    on_tokio(async {
        let address = format!("127.0.0.1:{}", free_port());
        let url = format!("http://:{SECRET}-{SECRET}-{SECRET}@{address}");
        let process = standalone(&cast, &[("gosdDriver", &url)], AT_ONCE, "is the server running");
        let _server = server::serve(&address, http_registry()).await.unwrap();
        registers(process, &url).await;
    });
}

#[test]
fn http_that_does_not_answer() {
    let cast = cast("http_that_does_not_answer");
    on_tokio(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let url = format!("http://:{SECRET}-{SECRET}-{SECRET}@{address}");
        let env = [("gosdDriver", url.as_str()), ("gosdTryRefreshAmount", "1")];
        let process = standalone(&cast, &env, ONE_CALL, "http: ");
        drop(silent);
        let _server = server::serve(&address, http_registry()).await.unwrap();
        registers(process, &url).await;
    });
}

#[test]
fn http_that_cannot_work() {
    let cast = cast("http_that_cannot_work");
    on_tokio(async {
        let server = server::serve("127.0.0.1:0", http_registry()).await.unwrap();
        let with = |login: &str, rest: &str| format!("http://{login}{}{rest}", server.address());
        let token = format!(":{SECRET}-{SECRET}-{SECRET}@");
        refused(&cast, &with("", ""), "Denied", "token");
        refused(&cast, &with(":another-sesame-of-nobody@", ""), "Denied", "token");
        refused(&cast, &with(&token, "/elsewhere"), "Config", "path");
        refused(&cast, &with(&token, "?namespace=other"), "Config", "namespace");
    });
}
