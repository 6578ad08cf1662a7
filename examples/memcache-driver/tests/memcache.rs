//! The driver with a real memcached: the conformance kit, and the peculiarities of a cache.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_memcached::{AsciiProtocol, Client, MetaProtocol};
use gosd_core::{Driver, ErrorKind, Instance, async_trait};
use gosd_testkit::{Fixture, NotOffered};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const LEASE: Duration = Duration::from_secs(600);

/// A server for one test, killed on drop.
struct Memcached {
    process: Child,
    port: String,
    _folder: TempDir,
}

impl Memcached {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(args: &[&str]) -> Self {
        // The server's clock skips a second when its tick, which gets a little later each time, passes the
        // turn of a second. If started in the first half of a second, it does not get so far in a test.
        let fraction = clock_gettime(ClockId::Monotonic).tv_nsec.unsigned_abs();
        if fraction > 500_000_000 {
            sleep(Duration::from_nanos(1_000_000_000 - fraction)).await;
        }
        let folder = TempDir::new().expect("a folder");
        let port = folder.path().join("port");
        let process = Command::new("memcached")
            .args(["--listen=127.0.0.1", "--port=-1", "--udp-port=0", "--user=root"])
            .args(args)
            .env("MEMCACHED_PORT_FILENAME", &port)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("install the Debian package memcached");
        // The server writes the file when it listens.
        let written = async {
            loop {
                match std::fs::read_to_string(&port) {
                    Ok(text) => return text,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let text = timeout(Duration::from_secs(60), written).await.expect("memcached starts");
        let port = text.trim().strip_prefix("TCP INET: ").expect("a port").to_owned();
        Self { process, port, _folder: folder }
    }

    /// A client that bypasses the driver.
    async fn client(&self) -> Client {
        Client::new(format!("tcp://127.0.0.1:{}", self.port)).await.expect("it runs")
    }

    async fn index(&self) -> Vec<String> {
        let item = self.client().await.get("shop/index").await.unwrap().expect("an index");
        let text = String::from_utf8(item.data.unwrap()).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(id).expect("an id"), signal).expect("it is ours");
    }
}

#[async_trait]
impl Fixture for Memcached {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        let url = format!("memcache://127.0.0.1:{}?namespace={namespace}", self.port);
        gosd_memcache::open(&url).await.expect("a good URL")
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.signal(Signal::STOP);
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.signal(Signal::CONT);
        Ok(())
    }

    async fn wipe(&self, _namespace: &str) -> Result<(), NotOffered> {
        self.client().await.flush_all().await.expect("it runs");
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        let mut client = self.client().await;
        let index = format!("{namespace}/index");
        client.set(format!("{namespace}/id/bad"), "{", None, None).await.expect("it runs");
        let append = client.meta_set(index, "\nbad", false, None, Some(&["MA"])).await;
        append.expect("there is an index");
        Ok(())
    }
}

gosd_testkit::conformance!(
    Memcached::start().await,
    without: [
        watch = "memcached tells nobody of changes, so core polls it",
        refuse_writes = "memcached evicts rather than refuse a write",
    ],
);

fn mail() -> Instance {
    Instance::new("mail", "http://10.0.0.7:25").unwrap()
}

#[tokio::test]
async fn a_lost_index_fails_one_read_and_heartbeats_restore_it() {
    let server = Memcached::start().await;
    let (owner, reader) = (server.driver("shop").await, server.driver("shop").await);
    let all = [mail(), mail()];
    for instance in &all {
        owner.register(instance, LEASE).await.unwrap();
    }
    assert_eq!(reader.list().await.unwrap().len(), 2);
    // An eviction does the same: the items of the instances stay.
    server.client().await.delete("shop/index").await.unwrap();
    assert_eq!(reader.list().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(reader.list().await.unwrap(), []);
    for instance in &all {
        owner.register(instance, LEASE).await.unwrap();
    }
    assert_eq!(reader.list().await.unwrap().len(), 2);
    // The index was lost and made again between two reads.
    server.client().await.flush_all().await.unwrap();
    owner.register(&all[0], LEASE).await.unwrap();
    assert_eq!(reader.list().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(reader.list().await.unwrap(), all[..1]);
}

#[tokio::test]
async fn dead_instances_leave_the_index_when_a_new_one_registers() {
    let server = Memcached::start().await;
    let driver = server.driver("shop").await;
    let [dead, stays, new] = [mail(), mail(), mail()];
    driver.register(&dead, LEASE).await.unwrap();
    driver.register(&stays, LEASE).await.unwrap();
    driver.deregister(dead.id()).await.unwrap();
    driver.register(&stays, LEASE).await.unwrap();
    assert_eq!(server.index().await.len(), 2);
    driver.register(&new, LEASE).await.unwrap();
    assert_eq!(
        server.index().await,
        [new, stays].map(|instance| format!("shop/id/{}", instance.id()))
    );
}

#[tokio::test]
async fn a_return_changes_the_index_so_that_no_older_one_is_written() {
    let server = Memcached::start().await;
    let driver = server.driver("shop").await;
    let instance = mail();
    let version = async || {
        let mut client = server.client().await;
        client.meta_get("shop/index", false, None, Some(&["c"])).await.unwrap().unwrap().cas
    };
    driver.register(&instance, LEASE).await.unwrap();
    let before = version().await;
    driver.register(&instance, LEASE).await.unwrap();
    assert_eq!(version().await, before, "a heartbeat writes nothing");
    driver.deregister(instance.id()).await.unwrap();
    driver.register(&instance, LEASE).await.unwrap();
    assert_ne!(version().await, before);
    assert_eq!(server.index().await.len(), 1);
}

#[tokio::test]
async fn more_instances_than_one_request_asks_for_are_listed() {
    let server = Memcached::start().await;
    let driver = server.driver("shop").await;
    for _ in 0..250 {
        driver.register(&mail(), LEASE).await.unwrap();
    }
    assert_eq!(server.driver("shop").await.list().await.unwrap().len(), 250);
}

#[tokio::test]
async fn unusable_urls_and_values_are_errors() {
    for url in [
        "memcache://a,b",
        "memcache://:secret@a",
        "memcache:a",
        "memcache://a/b",
        "memcache://a?b=c",
    ] {
        let error = gosd_memcache::open(url).await.err().expect(url);
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
    let server = Memcached::start().await;
    let driver = server.driver("shop").await;
    server.client().await.set("shop/index", "a picture", None, None).await.unwrap();
    assert_eq!(driver.list().await.unwrap_err().kind(), ErrorKind::Data);
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&users, "user:secret\n").unwrap();
    let option = format!("--auth-file={}", users.path().display());
    let guarded = Memcached::start_with(&[&option]).await;
    let denied = guarded.driver("shop").await.list().await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "{denied:?}");
    drop(server);
    let unavailable = driver.list().await.unwrap_err();
    assert_eq!(unavailable.kind(), ErrorKind::Unavailable, "{unavailable:?}");
}
