//! The one-byte file beside the database by which a change wakes the watchers of other processes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::file::{self, Identity, beside};

/// The one-byte file beside the database that is written after each change, for watchers to wake.
///
/// The file system reports one write to the bell, after the change is visible; it reports many writes to
/// the database's own files, and too early. The bell only saves time: watchers also read once a second.
pub(crate) struct Bell {
    database: PathBuf,
    path: PathBuf,
    heard: watch::Sender<()>,
    rope: Option<(File, Identity)>,
    has_warned: bool,
    /// Keeps the watch of the file system, on this very file.
    listening: Option<(RecommendedWatcher, Identity)>,
}

impl Bell {
    pub(crate) fn new(database: &Path, heard: watch::Sender<()>) -> Self {
        Self {
            database: database.to_owned(),
            path: beside(database, "-bell"),
            heard,
            rope: None,
            has_warned: false,
            listening: None,
        }
    }

    /// Wakes the watchers of every process.
    pub(crate) fn ring(&mut self) {
        if let Err(error) = self.try_ring() {
            debug!(path = %self.path.display(), %error, "the bell cannot be rung");
            self.rope = None;
        }
    }

    /// Subscribes to writes of the bell, so that every later ring is noticed.
    pub(crate) fn listen(&mut self) {
        let there = Identity::of(&self.path).ok().flatten();
        if there.is_some() && self.listening.as_ref().map(|(_, on)| *on) == there {
            return;
        }
        if let Err(error) = self.try_listen() {
            self.listening = None;
            if !self.has_warned {
                self.has_warned = true;
                let path = self.path.display();
                warn!(%path, %error, "changes by other processes are seen once a second only");
            }
        }
    }

    fn try_ring(&mut self) -> io::Result<()> {
        let there = Identity::of(&self.path)?;
        if there.is_none() || self.rope.as_ref().map(|(_, of)| *of) != there {
            let file = self.open(true)?;
            let identity = Identity::of_open(&file)?;
            self.rope = Some((file, identity));
        }
        let (rope, _) = self.rope.as_mut().ok_or(io::ErrorKind::NotFound)?;
        rope.seek(SeekFrom::Start(0))?;
        rope.write_all(b"!")
    }

    fn try_listen(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        // A user who may only read the folder can still watch the bell.
        let identity = Identity::of_open(&self.open(false)?)?;
        let heard = self.heard.clone();
        let on_event = move |event: notify::Result<notify::Event>| {
            // Opening and closing the bell is no ring. An error may stand for events that were lost.
            if event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                return;
            }
            heard.send_replace(());
        };
        let mut watcher = notify::recommended_watcher(on_event)?;
        watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
        self.listening = Some((watcher, identity));
        Ok(())
    }

    /// Opens the file, and makes it if there is none.
    fn open(&self, for_writing: bool) -> io::Result<File> {
        for _ in 0..3 {
            match file::open_bell(&self.path, &self.database, for_writing) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match file::make_bell(&self.path, &self.database) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // The bell exists now: this process made it, or another one did a moment ago.
                _ => {}
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use gosd_core::{Instance, InstanceId};
    use tokio::time::timeout;

    use super::*;
    use crate::options::Options;
    use crate::store::Store;

    const LATE: Duration = Duration::from_secs(60);
    const LONG_LEASE: Duration = Duration::from_secs(600);

    /// Whether a ring arrives, without reading the database as watchers also do.
    async fn expect_ring(ears: &mut watch::Receiver<()>) {
        timeout(LATE, ears.changed()).await.expect("a ring").expect("the bell is there");
    }

    fn listener(database: &Path) -> (Bell, watch::Receiver<()>) {
        let (heard, ears) = watch::channel(());
        let mut bell = Bell::new(database, heard);
        bell.listen();
        (bell, ears)
    }

    #[tokio::test]
    async fn each_change_rings_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gosd.db");
        let (_bell, mut ears) = listener(&path);
        let options = Options { path, namespace: "gosd".into() };
        let mut store = Store::new(options, watch::Sender::new(()), std::time::SystemTime::now);
        let mail = Instance::new("mail", "http://10.0.0.7:25").unwrap();
        let byte = || fs::metadata(folder.path().join("gosd.db-bell")).unwrap().modified().unwrap();
        store.register(&mail, LONG_LEASE).unwrap();
        expect_ring(&mut ears).await;
        let rung = byte();
        store.register(&mail, LONG_LEASE).unwrap();
        store.deregister(&InstanceId::from("absent")).unwrap();
        assert_eq!(byte(), rung, "a renewal is no change");
        store.deregister(mail.id()).unwrap();
        expect_ring(&mut ears).await;
    }

    #[tokio::test]
    async fn a_new_bell_is_heard_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gosd.db");
        let (mut bell, mut ears) = listener(&path);
        let (mut other, _ears) = listener(&path);
        for _ in 0..5 {
            fs::remove_file(folder.path().join("gosd.db-bell")).unwrap();
            expect_ring(&mut ears).await;
            // This makes a new bell, which the old handle does not watch.
            other.ring();
            bell.listen();
            ears.borrow_and_update();
            other.ring();
            expect_ring(&mut ears).await;
        }
    }
}
