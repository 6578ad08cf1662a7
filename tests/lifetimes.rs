//! Clients that share a process, and runtimes that end before their clients, on each driver.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd::{Client, Driver, Drivers, ErrorKind, Memory, Registration, View};
use gosd_server as server;
use gosd_testservers::{EtcdServer, PostgresServer, RedisServer};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A bound for steps that take well under a second on an idle machine.
const LATE: Duration = Duration::from_secs(60);

async fn open(url: &str) -> Arc<dyn Driver> {
    Drivers::compiled().open(url).await.unwrap()
}

async fn start(driver: Arc<dyn Driver>, service: &str) -> Client {
    let client = Client::builder(driver).register(service, "http://127.0.0.1:1").start();
    let client = timeout(LATE, client).await.expect("a start is bounded").unwrap();
    until_well(&client).await;
    client
}

async fn until_well(client: &Client) {
    let mut statuses = client.status_changes();
    let well = async {
        while let Some(status) = statuses.next().await {
            if matches!((status.registration, status.view), (Registration::Registered, View::Fresh))
            {
                return;
            }
        }
    };
    timeout(LATE, well).await.unwrap_or_else(|_| panic!("{client:?}"));
}

/// Two services in one process, with separate drivers or with a shared one.
async fn two_services(url: &str) {
    for shared in [false, true] {
        let mail_driver = open(url).await;
        let web_driver = if shared { Arc::clone(&mail_driver) } else { open(url).await };
        let mail = start(mail_driver, "mail").await;
        let web = start(web_driver, "web").await;
        assert_eq!(mail.next("web").await.unwrap().id(), web.id().unwrap());
        assert_eq!(web.next("mail").await.unwrap().id(), mail.id().unwrap());

        // The end of one service does not affect the other, with a goodbye or without one.
        mail.shutdown().await.unwrap();
        let mut changes = web.changes();
        let gone =
            async { while !web.instances("mail").is_empty() && changes.next().await.is_some() {} };
        timeout(LATE, gone).await.expect("it has left");
        web.refresh().await.unwrap();
        assert_eq!(web.services(), ["web"]);
        drop(mail);
        web.refresh().await.unwrap();
        let listed = open(url).await.list().await.unwrap();
        assert_eq!(listed.iter().map(gosd::Instance::service).collect::<Vec<_>>(), ["web"]);
        web.shutdown().await.unwrap();
    }
}

/// A runtime that ends while its client has all kinds of work under way.
fn runtime_ends(url: &str) {
    let kinds: [fn() -> Builder; 2] = [Builder::new_current_thread, Builder::new_multi_thread];
    for make in kinds {
        let (one, other) = (make().enable_all().build().unwrap(), Runtime::new().unwrap());
        let driver = other.block_on(open(url));
        let mut client = None;
        one.block_on(async { client = Some(start(Arc::clone(&driver), "mail").await) });
        let client = client.unwrap();
        // All of these wait, or repeat something, when the runtime ends.
        let waiting = {
            let client = client.clone();
            other.spawn(async move { client.next("nobody").await.unwrap_err() })
        };
        let reading = {
            let client = client.clone();
            other.spawn(async move {
                loop {
                    if let Err(error) = client.refresh().await {
                        return error;
                    }
                }
            })
        };
        let watching = {
            let (mut statuses, mut changes) = (client.status_changes(), client.changes());
            other.spawn(async move {
                while statuses.next().await.is_some() {}
                while changes.next().await.is_some() {}
            })
        };
        // A task on the runtime that ends, which uses the client as long as it is polled.
        let own = client.clone();
        one.spawn(async move { while own.refresh().await.is_ok() {} });
        one.block_on(async { timeout(LATE, client.refresh()).await.unwrap().unwrap() });
        one.shutdown_timeout(LATE);

        let after = async {
            assert_eq!(waiting.await.unwrap().kind(), ErrorKind::Closed);
            assert_eq!(reading.await.unwrap().kind(), ErrorKind::Closed);
            watching.await.unwrap();
            assert_eq!(client.refresh().await.unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(client.leave().await.unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(client.shutdown().await.unwrap_err().kind(), ErrorKind::Closed);
            assert!(client.pick("mail").is_some());
            drop(client);
            // The driver does not depend on the runtime, so the next client can use it.
            let next = start(Arc::clone(&driver), "mail").await;
            next.refresh().await.unwrap();
            next.shutdown().await.unwrap();
            driver.deregister(&orphan(&*driver).await).await.unwrap();
        };
        other.block_on(async { timeout(LATE, after).await.expect("nothing hangs") });
    }
}

/// The id of the instance that could not say goodbye.
async fn orphan(driver: &dyn Driver) -> gosd::InstanceId {
    let left = driver.list().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    left[0].id().clone()
}

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.0.path().join("gosd.db").display())
    }
}

fn etcd(server: &EtcdServer) -> String {
    format!("etcd://127.0.0.1:{}", server.port())
}

async fn http_server() -> server::Server {
    let settings = server::Settings::new().namespace("gosd", Arc::new(Memory::new())).unwrap();
    server::serve("127.0.0.1:0", settings).await.unwrap()
}

#[tokio::test]
async fn two_services_on_sqlite() {
    two_services(&Sqlite::new().url()).await;
}

#[tokio::test]
async fn two_services_on_redis() {
    two_services(&RedisServer::start(&[]).await.url()).await;
}

#[tokio::test]
async fn two_services_on_postgres() {
    two_services(&PostgresServer::start(&[]).await.url()).await;
}

#[tokio::test]
async fn two_services_on_etcd() {
    two_services(&etcd(&EtcdServer::start(&[]).await)).await;
}

#[tokio::test]
async fn two_services_on_http() {
    let server = http_server().await;
    two_services(&format!("http://{}", server.address())).await;
}

#[test]
fn a_runtime_that_ends_under_sqlite() {
    runtime_ends(&Sqlite::new().url());
}

#[test]
fn a_runtime_that_ends_under_redis() {
    let servers = Runtime::new().unwrap();
    let server = servers.block_on(RedisServer::start(&[]));
    runtime_ends(&server.url());
}

#[test]
fn a_runtime_that_ends_under_postgres() {
    let servers = Runtime::new().unwrap();
    let server = servers.block_on(PostgresServer::start(&[]));
    runtime_ends(&server.url());
}

#[test]
fn a_runtime_that_ends_under_etcd() {
    let servers = Runtime::new().unwrap();
    let server = servers.block_on(EtcdServer::start(&[]));
    runtime_ends(&etcd(&server));
}

#[test]
fn a_runtime_that_ends_under_http() {
    let servers = Runtime::new().unwrap();
    let server = servers.block_on(http_server());
    runtime_ends(&format!("http://{}", server.address()));
}
