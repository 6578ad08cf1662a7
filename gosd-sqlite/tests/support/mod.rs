//! A database, and ways to damage and replace it.
#![allow(dead_code, reason = "each test needs some of it")]

#[cfg(unix)]
pub(crate) mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{BoxStream, Driver, Event, Instance, Result};
use rusqlite::Connection;

/// A bound for steps that take a second or two on an idle machine.
pub(crate) const LATE: Duration = Duration::from_secs(60);
/// A lease that does not run out during a test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);

/// A database in a temporary folder.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        fs::create_dir(folder.path().join("db")).expect("a folder in it");
        Self { folder }
    }

    /// The folder of the database.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join("db")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("gosd.db")
    }

    pub(crate) fn bell(&self) -> PathBuf {
        self.folder().join("gosd.db-bell")
    }

    pub(crate) async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        open(&self.path(), namespace).await
    }

    /// A plain connection, as another program would open it.
    pub(crate) fn plain(&self) -> Connection {
        plain(&self.path())
    }

    /// A plain connection to the database after `take_away`.
    pub(crate) fn plain_away(&self) -> Connection {
        plain(&self.folder.path().join("away/gosd.db"))
    }

    /// Moves the whole folder away.
    pub(crate) fn take_away(&self) {
        self.rename("db", "away");
    }

    pub(crate) fn put_back(&self) {
        self.rename("away", "db");
    }

    /// Removes the database while processes have it open.
    pub(crate) fn remove(&self) {
        for file in fs::read_dir(self.folder()).expect("the folder") {
            let file = file.expect("a file").path();
            if let Err(error) = fs::remove_file(&file) {
                // A process was faster: the file was created and removed in between.
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", file.display());
            }
        }
    }

    fn rename(&self, from: &str, to: &str) {
        let folder = self.folder.path();
        fs::rename(folder.join(from), folder.join(to)).expect("a folder can be renamed");
    }
}

pub(crate) async fn open(path: &Path, namespace: &str) -> Arc<dyn Driver> {
    let url = format!("sqlite:{}?namespace={namespace}", path.display());
    gosd_sqlite::open(&url).await.expect("a good URL")
}

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good name and URL")
}

fn plain(path: &Path) -> Connection {
    let db = Connection::open(path).expect("the database");
    db.busy_timeout(Duration::from_secs(10)).expect("a number");
    db
}

/// The next item of a watch.
pub(crate) async fn next(watch: &mut BoxStream<'_, Result<Event>>) -> Result<Event> {
    tokio::time::timeout(LATE, watch.next()).await.expect("an item").expect("a watch does not end")
}
