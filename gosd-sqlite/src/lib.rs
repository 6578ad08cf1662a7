//! The SQLite driver of [gosd]: service discovery among the processes of one host, in one file.
//!
//! `sqlite:path[?namespace=name]`; the bare `sqlite` is `gosd.db` in the working directory.
//!
//! ```
//! use gosd_core::Client;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! # let folder = tempfile::tempdir().unwrap();
//! # let url = format!("sqlite:{}", folder.path().join("gosd.db").display());
//! let driver = gosd_sqlite::open(&url).await?;
//! let client = Client::builder(driver).register("mail", "http://10.0.0.7:25").start().await?;
//! assert_eq!(client.next("mail").await?.url(), "http://10.0.0.7:25");
//! client.shutdown().await?;
//! # Ok::<(), gosd_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What it promises
//!
//! Any number of processes of one host use one file, opened and made by whoever comes first. It must be
//! on a local file system, since the write-ahead log shares memory between processes. Calls wait up to 4 s
//! for a locked database. A change wakes the watchers of other processes through the file system, by a
//! one-byte file beside the database (`gosd.db-bell`); they also look once a second, so whoever writes
//! without ringing is noticed within that time. A file that was removed or replaced is noticed just as
//! fast, and everybody registers anew in the one that takes its place. To remove a database, remove
//! `gosd.db-wal` and `gosd.db-shm` with it, else there may be errors until everybody has noticed.
//!
//! Leases are judged by the clock of the host. If that is set, nothing is judged expired until every
//! live instance had a lease to renew itself in. A process that starts right after the clock was set
//! forward cannot know, and judges by the new time: the others then register again within a second.
//!
//! A driver has one thread, from its first call to its end, and a second one that waits for the bell
//! if it is watched. On Linux that takes one inotify instance, of which a user has 128 by default
//! (`fs.inotify.max_user_instances`); without one a watcher warns once and looks once a second.
//!
//! `cargo bench -p gosd-sqlite` measures how soon another process sees a change, beside a bare insert
//! and a bare wake-up, and what an idle watcher takes.
//!
//! # Layout
//!
//! Version 1, by `PRAGMA user_version`; a file of a later version, or of another program, is refused and
//! stays as it is.
//!
//! ```sql
#![doc = include_str!("layout.sql")]
//! ```
//!
//! `expires_at` and `at` are in ms since 1970, and `metadata` is a JSON object of strings. A plain
//! `sqlite3` can list, add and delete:
//!
//! ```sh
//! sqlite3 gosd.db "SELECT id, url FROM instances"
//! ```
//!
//! [gosd]: https://docs.rs/gosd

mod bell;
mod clock;
mod connection;
mod driver;
mod error;
mod file;
mod layout;
mod options;
mod store;
mod watch;

use std::sync::Arc;
use std::time::SystemTime;

use gosd_core::{BoxFuture, Driver, Result};

/// Opens the driver for a URL. Judges the URL, and touches no file yet.
///
/// # Errors
///
/// [`ErrorKind::Config`](gosd_core::ErrorKind::Config) if the URL cannot work.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let options = options::Options::parse(url)?;
        Ok(Arc::new(driver::Sqlite::new(options, SystemTime::now)) as Arc<dyn Driver>)
    })
}
