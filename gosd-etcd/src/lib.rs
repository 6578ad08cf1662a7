//! The etcd driver of gosd, with leases and a watch, on a cluster that survives the loss of a member. For
//! etcd 3.4 or later.
//!
//! The facade has the driver under its feature `etcd`, and `gosdDriver=etcd://10.0.0.5,10.0.0.6,10.0.0.7`
//! chooses it. This crate alone makes a driver of a URL:
//!
//! ```
//! use gosd_core::Client;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> gosd_core::Result<()> {
//! // The driver connects only when it is first used.
//! let driver = gosd_etcd::open("etcd://shop:secret@10.0.0.5,10.0.0.6?namespace=staging").await?;
//! let builder = Client::builder(driver).register("mail", "http://10.0.0.7:25");
//! # let _ = builder;
//! # Ok(())
//! # }
//! ```
//!
//! Building it needs `protoc`, because its client library does: on Debian the packages
//! `protobuf-compiler` and `libprotobuf-dev`. Running it does not.
//!
//! # URLs
//!
//! `etcd://[user:password@]host[:port][,host[:port]]...`; a bare `etcd` is `localhost:2379`. Name
//! several members of the cluster, or all: a client begins at any of them, and goes on to another if
//! that one is dead, or cut off from the others.
//!
//! With `etcds` instead of `etcd` all connections use TLS. Query keys: `namespace` (by default
//! `gosd`); for TLS `ca`, a file of certificates to trust instead of the system's, and `cert` and
//! `key`, the files of the client's certificate and its key. Renewed files count from the next connection on.
//! TLS needs a provider of cryptography: the process's default one of rustls, or the feature `tls-aws-lc` or
//! `tls-ring`.
//!
//! # Layout
//!
//! Each instance has one key, `/NS/instances/<id>`, with the JSON of the instance as its value, and its own
//! lease. A goodbye writes `{"gone":true}` into the key and then revokes the lease, so that
//! watchers can tell the goodbye from an expiry. A plain `etcdctl` can list, add and delete:
//!
//! ```sh
//! etcdctl get --prefix /gosd/instances/
//! etcdctl put --lease=$LEASE /gosd/instances/mail-1 '{"id":"mail-1","service":"mail","url":"http://10.0.0.7:25"}'
//! ```
//!
//! # Leases
//!
//! etcd counts leases in whole seconds, which are rounded up, and grants no less than one and a half
//! election timeouts: 2 s by default. A new leader restarts every lease. Releases of etcd before March 2024 have a
//! [fault](https://github.com/etcd-io/etcd/issues/15247): a leader that was paused for longer than a lease
//! revokes leases that live when it wakes up. Their owners are back before any client has dropped them.
//!
//! A registration has one lease, whose id this driver chooses, so that no failure leaves an unknown lease
//! behind. A heartbeat is one keep-alive and one read, which proves that the key still exists,
//! unchanged and with that lease. A majority of the cluster has to confirm the read, so that no
//! member answers with outdated data. Nothing is written, and no watcher is woken. Only if the
//! proof fails is the record written, after the lease if that is gone too. A lease without
//! keys is revoked.
//!
//! A goodbye is three calls, and one more if the record does not have the lease that this driver chose for
//! it, which is then revoked too. So a late heartbeat has no lease to write with, and cannot restore
//! the instance.
//!
//! Over its quota (the alarm `NOSPACE`) etcd refuses writes, but renews and revokes leases. So
//! registered instances stay, instances can leave (which watchers see as an expiry), and new ones get the
//! error that there is no space. Without a majority of its members etcd renews nothing and lets nothing
//! expire; reads fail, and a watch ends with an error.
//!
//! # Watching
//!
//! A watch has its own connection, and all other calls of a driver share another. The watch begins before the
//! snapshot is read, and yields the changes after the snapshot's revision. A change alone is yielded at once; those
//! that come within 50 ms after it are yielded together, so that a rollout wakes each watcher at most twenty times
//! a second. Contact is lost, and the next item is a new snapshot, if the watch is canceled, if the history was
//! compacted under a slow reader, if the member lost the leader, or if there was no answer for nine seconds, on the
//! watch or to a read that needs a majority. A watch never resumes: a data directory that was wiped or restored
//! continues with any revision, in a cluster of the same id, so nothing would prove that the history is the same.
//!
//! # The server
//!
//! - With authentication on, the user needs to read and write the prefix:
//!   `etcdctl role grant-permission ROLE readwrite --prefix=true /gosd/instances/`. For a process that
//!   only discovers, reading it is enough. A driver has one token for all its connections, and gets another
//!   when that has expired. etcd makes the check of a password expensive on purpose (bcrypt), and does one
//!   after another, so it takes a while when a whole fleet comes back. The check goes on for up to two minutes,
//!   even if calls give up waiting. A lower `--bcrypt-cost` when the password is set makes it faster.
//! - The history grows with arrivals and departures, not with heartbeats; let etcd compact it
//!   (`--auto-compaction-retention=1h`).
//! - A snapshot is one reply, whatever its size: pages of it would each count the whole range.
//!
//! # Figures
//!
//! `cargo bench -p gosd-etcd` measures each against plain etcd with the same client library, in
//! alternating rounds of the same run. Medians of 11 rounds, on two cores that other work kept busy,
//! beside a server that wrote to memory:
//!
//! | what | against | |
//! | --- | --- | --- |
//! | a goodbye in another client's cache | a put that wakes a watch | 1.2x (350 us there) |
//! | an arrival in another client's cache | a grant, and a put that wakes a watch | 1.1x (670 us there) |
//! | the same | a put that wakes a watch | 2.1x: the lease has to be there first |
//! | 100,000 instances to a ready cache | the same range, fetched and decoded | 1.25x (420 ms there) |
//! | 1,000 registrations at once | as many grants and puts | 1.0x (400 ms there) |
//! | 1,000 heartbeats at once | as many keep-alives and transactions | 1.3x (690 ms there), 0.3x to 2.2x in single rounds |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod channel;
mod connection;
mod doctor;
mod driver;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod lease;
mod leases;
mod messages;
mod options;
mod session;
mod watch;

use std::sync::Arc;

use gosd_core::{BoxFuture, Driver, Result};

pub use doctor::diagnose;

/// Makes a driver of a [URL](crate#urls). It connects when it is first used.
///
/// # Errors
///
/// [`Config`](gosd_core::ErrorKind::Config) if the URL is invalid. The message says why.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let driver: Arc<dyn Driver> = Arc::new(driver::Etcd::new(options::Options::parse(url)?)?);
        Ok(driver)
    })
}
