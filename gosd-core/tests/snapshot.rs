//! The file that keeps the last good view.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use gosd_core::{
    Client, Driver, Error, ErrorKind, Instance, InstanceId, Memory, Result, Settings, View,
    async_trait,
};

/// A memory that can be out of reach; polled.
struct Flaky {
    memory: Memory,
    is_down: AtomicBool,
}

impl Flaky {
    fn check(&self) -> Result<()> {
        match self.is_down.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "out of reach")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Driver for Flaky {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.check()?;
        self.memory.register(instance, ttl).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.check()?;
        self.memory.deregister(id).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.check()?;
        self.memory.list().await
    }

    fn name(&self) -> &str {
        "flaky"
    }
}

/// A backend with one instance of `mail`.
async fn backend(is_down: bool) -> Arc<Flaky> {
    let memory = Memory::new();
    let mail = Instance::new("mail", "http://10.0.0.7").unwrap();
    memory.register(&mail, Duration::from_secs(86_400)).await.unwrap();
    Arc::new(Flaky { memory, is_down: is_down.into() })
}

async fn client(backend: &Arc<Flaky>, path: &Path, settings: Settings) -> Client {
    let settings = settings.snapshot_path(path.to_owned());
    Client::builder(Arc::clone(backend) as _).settings(settings).start().await.unwrap()
}

/// Leaves a file with that instance in it.
async fn saved(path: &Path) {
    let before = client(&backend(false).await, path, Settings::default()).await;
    before.add_local("mine", "http://10.0.0.9").unwrap();
    while !path.exists() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    before.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_without_the_backend_serves_the_last_view() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;

    let client = client(&backend(true).await, &path, Settings::default()).await;
    assert_eq!(client.next("mail").await.unwrap().url(), "http://10.0.0.7");
    assert_eq!(client.services(), ["mail"], "local entries are not kept");
    assert!(matches!(client.status().view, View::Stale { .. }), "{:?}", client.status());
    // Nothing has been read, so nobody can say that a service is not there.
    assert_eq!(client.next("web").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_backend_when_it_is_back_gets_one_lease() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;

    let backend = backend(true).await;
    let client = client(&backend, &path, Settings::default()).await;
    backend.is_down.store(false, Ordering::Relaxed);
    client.refresh().await.unwrap();
    assert!(matches!(client.status().view, View::Fresh));
    assert_eq!(client.instances("mail").len(), 2, "the one in the file has another id");
    tokio::time::sleep(Settings::default().lease_ttl + Duration::from_secs(1)).await;
    assert_eq!(client.instances("mail").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_file_is_not_needed_when_the_backend_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;
    let client = client(&backend(false).await, &path, Settings::default()).await;
    assert_eq!(client.instances("mail").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_view_older_than_allowed_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;
    date(&path, SystemTime::UNIX_EPOCH);

    let backend = backend(true).await;
    let strict = Settings::default().max_stale(Duration::from_secs(86_400));
    let strict = client(&backend, &path, strict).await;
    assert!(strict.pick("mail").is_none());
    assert_eq!(strict.next("mail").await.unwrap_err().kind(), ErrorKind::Stale);

    let lenient = client(&backend, &path, Settings::default()).await;
    assert!(lenient.pick("mail").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_view_in_which_nothing_changes_does_not_grow_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;
    let _client = client(&backend(false).await, &path, Settings::default()).await;
    // The first time it is written anew.
    for is_written in [true, false, false] {
        date(&path, SystemTime::UNIX_EPOCH);
        let before = std::fs::read(&path).unwrap();
        while path.metadata().unwrap().modified().unwrap() == SystemTime::UNIX_EPOCH {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(std::fs::read(&path).unwrap() != before, is_written);
    }
}

fn date(path: &Path, time: SystemTime) {
    let file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_ignored_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    std::fs::write(&path, "not a snapshot").unwrap();
    let backend = backend(true).await;
    let client = client(&backend, &path, Settings::default()).await;
    assert!(matches!(client.status().view, View::Unknown));
    backend.is_down.store(false, Ordering::Relaxed);
    while !std::fs::read_to_string(&path).unwrap().contains("10.0.0.7") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
