//! The file that keeps the last good view for a start without the backend.

mod log;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use gosd_core::{
    Client, Driver, Error, ErrorKind, Instance, InstanceId, Memory, Result, Settings, View,
    async_trait,
};
use log::Log;

/// A `Memory` without a watch, which can be out of reach.
struct Flaky {
    memory: Memory,
    is_down: AtomicBool,
    namespace: &'static str,
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

    fn identity(&self) -> Option<&str> {
        Some(self.namespace)
    }
}

/// A backend with one instance of `mail`.
async fn backend(is_down: bool) -> Arc<Flaky> {
    let memory = Memory::new();
    let mail = Instance::new("mail", "http://10.0.0.7").unwrap();
    memory.register(&mail, Duration::from_secs(86_400)).await.unwrap();
    Arc::new(Flaky { memory, is_down: is_down.into(), namespace: "production" })
}

async fn client(backend: &Arc<Flaky>, path: &Path, settings: Settings) -> Client {
    let settings = settings.snapshot_path(path.to_owned());
    Client::builder(Arc::clone(backend) as _).settings(settings).start().await.unwrap()
}

/// Writes a file with that instance in it.
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
    // Nothing has been read yet, so `NotFound` would be wrong.
    assert_eq!(client.next("web").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_instance_missing_from_the_backend_that_is_back_is_kept_for_half_a_lease() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;

    let backend = backend(true).await;
    let client = client(&backend, &path, Settings::default()).await;
    backend.is_down.store(false, Ordering::Relaxed);
    client.refresh().await.unwrap();
    assert!(matches!(client.status().view, View::Fresh));
    assert_eq!(client.instances("mail").len(), 2, "the one in the file has another id");
    let second = Duration::from_secs(1);
    tokio::time::sleep(Settings::default().lease_ttl / 2 - second).await;
    assert_eq!(client.instances("mail").len(), 2);
    tokio::time::sleep(Settings::default().lease_ttl / 2 + 2 * second).await;
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
async fn clients_that_share_the_file_leave_a_whole_view_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    let backend = backend(false).await;
    let settings = Settings::default().snapshot_path(path.clone());
    // Each client registers an instance that only other clients look up.
    let start = async |service| {
        let builder = Client::builder(Arc::clone(&backend) as _).settings(settings.clone());
        builder.register(service, "http://10.0.0.8").start().await.unwrap()
    };
    let (_web, _shop) = (start("web").await, start("shop").await);
    let mut last = None;
    let mut writes = 0;
    for second in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let written = path.metadata().and_then(|file| file.modified()).ok();
        writes += u32::from(written != last);
        last = written;
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let is_whole = ["mail-", "web-", "shop-"].iter().all(|id| text.contains(id));
        assert!(second < 70 || is_whole, "after {second} s: {text}");
    }
    assert!(writes <= 30, "{writes} in 300 s");
}

#[tokio::test(start_paused = true)]
async fn a_file_dated_in_the_future_counts_as_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;
    // A file has such a date after its host's clock was set back.
    date(&path, SystemTime::now() + Duration::from_secs(3_600));
    let backend = backend(true).await;
    let strict = Settings::default().max_stale(Duration::from_secs(366 * 86_400));
    let strict = client(&backend, &path, strict).await;
    assert!(strict.pick("mail").is_none());
    assert_eq!(strict.next("mail").await.unwrap_err().kind(), ErrorKind::Stale);
    assert!(client(&backend, &path, Settings::default()).await.pick("mail").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_view_of_one_namespace_is_not_served_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;
    let mut staging = Arc::into_inner(backend(true).await).unwrap();
    staging.namespace = "staging";
    let staging = client(&Arc::new(staging), &path, Settings::default()).await;
    assert!(staging.pick("mail").is_none() && matches!(staging.status().view, View::Unknown));
    let production = client(&backend(true).await, &path, Settings::default()).await;
    assert!(production.pick("mail").is_some());
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn no_limit_of_the_age_makes_the_writer_busy() {
    use std::os::unix::fs::MetadataExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    let settings = Settings::default().max_stale(Duration::ZERO);
    let _client = client(&backend(false).await, &path, settings).await;
    let mut touches = 0;
    let mut last = None;
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = std::fs::metadata(&path).ok().map(|it| (it.mtime(), it.mtime_nsec(), it.ino()));
        touches += u32::from(now != last);
        last = now;
    }
    assert!((50..=120).contains(&touches), "{touches} in 100 s");
}

#[tokio::test(start_paused = true)]
async fn a_view_in_which_nothing_changes_does_not_grow_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    saved(&path).await;
    let _client = client(&backend(false).await, &path, Settings::default()).await;
    // The first save writes a new file, and the later ones only change its date.
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

/// Starts with a file that is damaged or foreign, and checks the one warning about it.
async fn is_ignored_and_replaced(content: &[u8], warning: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    std::fs::write(&path, content).unwrap();
    let backend = backend(true).await;
    let log = Log::default();
    let logging = tracing::subscriber::set_default(log.clone());
    let client = client(&backend, &path, Settings::default()).await;
    drop(logging);
    let warnings = log.warnings("snapshot");
    assert!(warnings.len() == 1 && warnings[0].contains(warning), "{warnings:?}");
    assert!(matches!(client.status().view, View::Unknown));
    assert!(client.services().is_empty());
    backend.is_down.store(false, Ordering::Relaxed);
    // The previous content may not be text.
    while !String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("10.0.0.7") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_ignored_with_one_warning_and_replaced() {
    let header = r#"{"gosd_snapshot":2,"driver":"flaky","registry":"production","count":1}"#;
    is_ignored_and_replaced(b"not a snapshot", "not a snapshot").await;
    is_ignored_and_replaced(b"", "not a snapshot").await;
    is_ignored_and_replaced(b"\xff\xfe", "UTF-8").await;
    is_ignored_and_replaced(format!("{header}\n{{\"id\":\"a").as_bytes(), "an instance").await;
    is_ignored_and_replaced(format!("{header}\n").as_bytes(), "a part of it is missing").await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_file_is_ignored_with_one_warning_and_replaced() {
    let of_another = br#"{"gosd_snapshot":2,"driver":"redis","registry":"production","count":0}"#;
    is_ignored_and_replaced(of_another, "redis").await;
    let of_staging = br#"{"gosd_snapshot":2,"driver":"flaky","registry":"staging","count":0}"#;
    is_ignored_and_replaced(of_staging, "staging").await;
    let unnamed = br#"{"gosd_snapshot":2,"driver":"flaky","registry":null,"count":0}"#;
    is_ignored_and_replaced(unnamed, "unnamed").await;
    let newer = br#"{"gosd_snapshot":3,"driver":"flaky","count":0}"#;
    is_ignored_and_replaced(newer, "format").await;
    is_ignored_and_replaced(br#"{"name":"web","version":"1.0.0"}"#, "gosd_snapshot").await;
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn the_file_is_written_rarely_and_only_after_changes() {
    use std::os::unix::fs::MetadataExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    let backend = backend(false).await;
    let often = Settings::default().refresh_interval(Duration::from_secs(1));
    let _client = client(&backend, &path, often).await;
    // Each save creates a new file while the previous one still exists, so the inode changes.
    let file = || std::fs::metadata(&path).ok().map(|file| file.ino());
    let mut saves = 0;
    for second in 0..1_200 {
        let before = file();
        if second < 600 {
            let web = Instance::new("web", "http://10.0.0.8").unwrap();
            backend.memory.register(&web, Duration::from_secs(3)).await.unwrap();
        } else if second == 700 {
            saves = 0;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        saves += usize::from(file() != before);
        if second == 600 {
            assert!((15..=25).contains(&saves), "{saves} saves in ten minutes of changes");
        }
    }
    assert_eq!(saves, 0, "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_could_not_be_written_is_tried_again_before_its_view_is_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later/view");
    let settings = Settings::default().max_stale(Duration::from_secs(4));
    let _client = client(&backend(false).await, &path, settings).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!path.exists());
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(path.exists());
}
