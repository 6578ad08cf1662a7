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
//! Any number of processes of one host use one file on a local file system, which the first of them
//! creates. Leases expire by the clock of the host. Calls wait up to 2.5 s for a locked database. A
//! change wakes the watchers of other processes through the file system, by a one-byte file beside the
//! database (`gosd.db-bell`): for a change alone at once, and for those that come within 50 ms after it
//! together. Watchers also read once a second, so they notice within that time a program that writes
//! without ringing. A file that was removed or replaced is noticed just as fast, and all instances
//! register again in the new one.
//!
//! **Which file?** Choose one in a folder where only users can write who may register. Users of one group
//! share a file if the group may write to the folder and their umask is 002: the files that gosd makes beside
//! the database get its mode. Links and pipes in the place of gosd's own files are not followed.
//!
//! **The journal** is SQLite's rollback journal (`journal_mode=DELETE`), without waiting for the disk
//! (`synchronous=OFF`). A write-ahead log is faster to write, and readers do not wait for a writer; but it
//! shares memory by a file, and cutting that file short, as copying a backup over it does,
//! ends every process that uses it by a signal. A file in that mode is switched back as soon as no other process
//! has it open. So a program that keeps a transaction open on the file, even one that only reads, keeps others
//! from writing. That is an outage, in which no instance is taken for dead.
//!
//! **A damaged file**, after a loss of power or because something was copied over it, is noticed by the
//! next process that reads it. If it is still damaged a second later, it is moved to `gosd.db-damaged`, with a
//! warning, and all instances register again: a list of leases is worth more working than preserved. Files of
//! other programs are refused, and never moved.
//!
//! **While writes are refused** (a full disk, a lock, a file system that became read-only) no instance can
//! renew, so `list` fails and a watch yields an `Err`. Afterwards every instance has half a lease in which to
//! renew. A process that watches finds out by a write every 4 s, unless it notices another process's write. A
//! user who may only read lists an expired instance until another instance has renewed after its expiry.
//!
//! **When the clock is set**, forwards or back, each instance that had a lease gets a whole one in which to
//! renew, written by the processes that notice; leases that end later than any lease can are shortened.
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
mod damage;
mod doctor;
mod driver;
mod error;
mod file;
mod layout;
mod options;
mod store;
mod watch;
mod writes;

use std::sync::Arc;
use std::time::SystemTime;

use gosd_core::{BoxFuture, Driver, Result};

pub use doctor::diagnose;

/// Opens the driver for a URL. Checks the URL, and touches no file yet.
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
