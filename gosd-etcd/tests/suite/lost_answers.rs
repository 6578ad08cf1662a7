//! Writes and goodbyes whose answers were lost, and which may arrive late.

use std::slice::from_ref;
use std::time::Duration;

use gosd_core::Result;
use gosd_testservers::EtcdServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::support::{LONG_LEASE, PATIENCE, calls, instance, key, lease, leases, open_at};

/// In a write, and in no other request.
const WRITE: &str = "\"service\"";
/// The same for a goodbye.
const GOODBYE: &str = "{\"gone\":true}";

/// A port in front of a server, which keeps the first request with a certain text.
struct Gate {
    port: u16,
    kept: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(server: u16, text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (kept, open) = (watch::Sender::new(false), watch::Sender::new(false));
        let (keeps, opens) = (kept.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, text, keeps.clone(), opens.subscribe()));
            }
        });
        Self { port, kept, open }
    }

    /// Gives a call up once the request is kept.
    async fn give_up(&self, call: impl Future<Output = Result<()>>) {
        let mut kept = self.kept.subscribe();
        tokio::select! {
            done = call => panic!("it has an answer: {done:?}"),
            kept = kept.wait_for(|kept| *kept) => drop(kept.unwrap()),
        }
    }

    /// Delivers the request, and waits until the server has handled so many of its kind.
    async fn deliver(&self, etcd: &EtcdServer, method: &str, count: u32) {
        self.open.send_replace(true);
        let handled = async {
            while calls(etcd.port(), "handled", method).await < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, handled).await.expect("it arrives");
    }
}

/// Passes everything on until the request comes. After it nothing passes in either direction but the request.
async fn pass(
    mut client: TcpStream,
    server: u16,
    text: &str,
    keeps: watch::Sender<bool>,
    mut is_open: watch::Receiver<bool>,
) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut requests, mut to_client) = client.split();
    let (mut replies, mut to_server) = server.split();
    let forward = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let count = requests.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            let sent = &buffer[..count];
            let is_it = sent.windows(text.len()).any(|part| part == text.as_bytes());
            if is_it && !keeps.send_replace(true) {
                return Some(sent.to_vec());
            }
            to_server.write_all(sent).await.ok()?;
        }
    };
    let kept = tokio::select! {
        kept = forward => kept,
        _ = tokio::io::copy(&mut replies, &mut to_client) => None,
    };
    if let Some(kept) = kept
        && is_open.wait_for(|open| *open).await.is_ok()
    {
        to_server.write_all(&kept).await.unwrap();
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_write_that_arrived_is_not_made_again() {
    let etcd = EtcdServer::start(&[]).await;
    let gate = Gate::before(etcd.port(), WRITE).await;
    let driver = open_at(gate.port).await;
    let mail = instance("mail");
    gate.give_up(driver.register(&mail, LONG_LEASE)).await;
    gate.deliver(&etcd, "Put", 1).await;
    let arrived = etcd.ctl(&["get", &key(&mail), "-w", "fields"]).await;
    assert!(arrived.contains("\"Version\" : 1\n"), "{arrived}");
    for _ in 0..2 {
        driver.register(&mail, LONG_LEASE).await.unwrap();
        // The output contains the revision of the whole database, and the lease.
        assert_eq!(etcd.ctl(&["get", &key(&mail), "-w", "fields"]).await, arrived);
        assert_eq!(leases(&etcd).await, 1);
    }
}

#[tokio::test]
async fn a_late_write_of_what_is_registered_leaves_it_so() {
    let etcd = EtcdServer::start(&[]).await;
    let gate = Gate::before(etcd.port(), WRITE).await;
    let driver = open_at(gate.port).await;
    let mail = instance("mail");
    gate.give_up(driver.register(&mail, LONG_LEASE)).await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let before = lease(&etcd, &mail).await;
    gate.deliver(&etcd, "Put", 2).await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));
    assert_eq!(lease(&etcd, &mail).await, before);
    assert_eq!(leases(&etcd).await, 1);
    driver.deregister(mail.id()).await.unwrap();
    assert_eq!(leases(&etcd).await, 0);
}

#[tokio::test]
async fn a_late_write_does_not_undo_a_change() {
    let etcd = EtcdServer::start(&[]).await;
    let gate = Gate::before(etcd.port(), WRITE).await;
    let driver = open_at(gate.port).await;
    let old = instance("mail");
    let new = old.clone().with_metadata("zone", "b");
    gate.give_up(driver.register(&old, LONG_LEASE)).await;
    // Repeated, it has an answer; the first one is on its way still.
    driver.register(&old, LONG_LEASE).await.unwrap();
    driver.register(&new, LONG_LEASE).await.unwrap();
    gate.deliver(&etcd, "Put", 3).await;
    assert_eq!(driver.list().await.unwrap(), from_ref(&new));
    assert_eq!(leases(&etcd).await, 1);
}

#[tokio::test]
async fn a_late_write_does_not_undo_a_goodbye() {
    for is_repeated in [false, true] {
        let etcd = EtcdServer::start(&[]).await;
        let gate = Gate::before(etcd.port(), WRITE).await;
        let driver = open_at(gate.port).await;
        let mail = instance("mail");
        gate.give_up(driver.register(&mail, LONG_LEASE)).await;
        if is_repeated {
            driver.register(&mail, LONG_LEASE).await.unwrap();
        }
        driver.deregister(mail.id()).await.unwrap();
        gate.deliver(&etcd, "Put", 1 + u32::from(is_repeated)).await;
        assert_eq!(driver.list().await.unwrap(), [], "repeated: {is_repeated}");
        assert_eq!(leases(&etcd).await, 0);
        driver.register(&mail, LONG_LEASE).await.unwrap();
        assert_eq!(driver.list().await.unwrap(), from_ref(&mail));
    }
}

#[tokio::test]
async fn a_late_goodbye_does_not_undo_the_return() {
    let etcd = EtcdServer::start(&[]).await;
    let gate = Gate::before(etcd.port(), GOODBYE).await;
    let driver = open_at(gate.port).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    gate.give_up(driver.deregister(mail.id())).await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    gate.deliver(&etcd, "Txn", 1).await;
    assert_eq!(driver.list().await.unwrap(), from_ref(&mail));
    assert_eq!(leases(&etcd).await, 1);
}
