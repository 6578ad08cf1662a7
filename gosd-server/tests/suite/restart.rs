//! Servers that end and come back while their clients run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Client, Driver, Memory, Settings as ClientSettings};
use gosd_server::{Server, Settings, serve};
use gosd_testkit::{Faulty, Operation};
use gosd_testservers::free_port;
use tokio::time::{sleep, timeout};

use super::support::{LATE, open};

async fn start(address: SocketAddr, driver: Arc<dyn Driver>) -> Server {
    serve(address, Settings::new().namespace("gosd", driver).unwrap()).await.expect("it is free")
}

async fn client(address: SocketAddr, lease: u64) -> Client {
    let driver = open(&format!("http://{address}")).await;
    let settings = ClientSettings::default().lease_ttl(Duration::from_secs(lease));
    let client = Client::builder(driver).settings(settings).register("mail", "http://10.0.0.7:25");
    client.start().await.expect("the server is there")
}

/// Polls until a condition holds that no event announces.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[tokio::test]
async fn with_a_durable_database_no_client_registers_again() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("gosd.db").display());
    let counted = || async { Faulty::new(gosd_sqlite::open(&sqlite).await.expect("a good URL")) };
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (first, second) = (counted().await, counted().await);
    let server = start(address, Arc::new(first.clone())).await;
    let client = client(address, 600).await;
    until("the snapshot", async || client.instances("mail").len() == 1).await;
    assert_eq!(first.calls(Operation::Register), 1);

    server.shutdown().await;
    until("the outage is noticed", async || {
        !matches!(client.status().view, gosd_core::View::Fresh)
    })
    .await;
    assert_eq!(client.instances("mail").len(), 1);
    let server = start(address, Arc::new(second.clone())).await;
    until("contact", async || matches!(client.status().view, gosd_core::View::Fresh)).await;
    client.refresh().await.unwrap();
    assert_eq!(client.instances("mail").len(), 1);
    assert_eq!(second.calls(Operation::Register), 0);
    drop(server);
}

#[tokio::test]
async fn with_a_database_in_memory_all_instances_are_back_within_a_heartbeat() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start(address, Arc::new(Memory::new())).await;
    let clients = [client(address, 6).await, client(address, 6).await];
    until("the snapshots", async || clients.iter().all(|c| c.instances("mail").len() == 2)).await;
    server.shutdown().await;
    let empty = Memory::new();
    let server = start(address, Arc::new(empty.clone())).await;
    until("the return of all", async || {
        let known = clients.iter().all(|client| client.instances("mail").len() == 2);
        assert!(known, "somebody was lost");
        empty.list().await.unwrap().len() == 2
    })
    .await;
    drop(server);
}

#[tokio::test]
async fn a_shutdown_ends_the_watchers_and_is_soon_done() {
    use futures_util::StreamExt;
    let server = start("127.0.0.1:0".parse().unwrap(), Arc::new(Memory::new())).await;
    let driver = open(&format!("http://{}", server.address())).await;
    let mut watch = driver.watch().unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    let (ended, item) = tokio::join!(timeout(LATE, server.shutdown()), watch.next());
    assert!(ended.is_ok());
    let error = item.unwrap().unwrap_err();
    assert!(error.to_string().contains("ended the events"), "it is told: {error}");
}
