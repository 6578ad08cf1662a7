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
//! Any number of processes of one host use one file, opened and made by whoever comes first, on a local
//! file system: leases expire by the clock of the host. Calls wait up to 2.5 s for a locked database.
//! A change wakes the watchers of other processes through the file system, by a one-byte file beside the
//! database (`gosd.db-bell`); they also look once a second, so whoever writes without ringing is noticed
//! within that time. A file that was removed or replaced is noticed just as fast, and everybody registers
//! anew in the one that takes its place.
//!
//! **Which file?** Choose one in a folder where only those can write who may register. Users of one group
//! share a file if the folder is the group's to write and their umask is 002: what gosd makes beside the
//! database gets its mode. Links and pipes that stand where gosd has files of its own are not followed.
//!
//! **The journal** is SQLite's rollback journal (`journal_mode=DELETE`), without waiting for the disk
//! (`synchronous=OFF`). A write-ahead log is faster to write, and readers do not wait for a writer; but it
//! shares memory by a file, and whoever cuts that short (a backup that is copied over the files does so)
//! ends every process that uses it by a signal. A file that is in that mode is put back as soon as nobody
//! else has it open. So whoever keeps a transaction open on the file, if only to read, keeps others from
//! writing: that is an outage, in which nobody is taken for dead.
//!
//! **A damaged file**, after a loss of power or because something was copied over it, is noticed by
//! whoever comes upon it. If it is damaged still a second later, it is moved to `gosd.db-damaged`, with a
//! warning, and all register anew: a list of leases is worth more working than preserved. Files of other
//! programs are refused, and never moved.
//!
//! **While writes are refused** (a full disk, a lock, a file system that became read-only) nobody can
//! renew, so `list` fails and a watch says that contact is lost; afterwards everybody has half a lease to
//! renew in. Who watches finds out by trying, every 4 s unless somebody else is seen to write. A user who
//! may only read lists an instance as long as nobody has renewed after its lease ran out.
//!
//! **When the clock is set**, forwards or back, whoever had a lease gets a whole one to renew in, written
//! by those who notice; leases that end later than they can are cut.
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
