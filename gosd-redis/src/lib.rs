//! The Redis driver of gosd, with leases and a watch, on a layout shared with the Go library. For Redis 5.0 or
//! later, and Valkey.
//!
//! The facade has the driver under its feature `redis`. This crate alone makes a driver of a URL:
//!
//! ```
//! use gosd_core::Client;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> gosd_core::Result<()> {
//! // The driver connects only when it is first used.
//! let driver = gosd_redis::open("redis://:secret@10.0.0.5:6379/2?namespace=staging").await?;
//! let builder = Client::builder(driver).register("mail", "http://10.0.0.7:25");
//! # let _ = builder;
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//!
//! | URL | the server |
//! | --- | --- |
//! | `redis` | `localhost:6379` |
//! | `redis://[user:password@]host[:port][/database]` | that one |
//! | `redis+cluster://a,b,c` | the node of the cluster that has the namespace; name several |
//! | `redis+sentinel://a,b,c/master[/database]` | the master of that name, as the sentinels say |
//!
//! If a host has several addresses, the driver uses the first that answers (RFC 8305). Unix sockets are not
//! supported. With `rediss` instead of `redis` all connections use TLS, those to sentinels too. Query keys:
//! `namespace` (by default `gosd`); for TLS `ca`, a file of certificates to trust instead of the
//! system's, and `cert` and `key`, the files of the client's certificate and its key. Sentinels are asked
//! without a password, or with that of the URL if they demand one.
//!
//! # Layout
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `NS` | hash | id -> URL, as the Go library has it |
//! | `{NS}:leases` | sorted set | id -> when its lease runs out, in ms by the server's clock |
//! | `{NS}:meta` | hash | id -> the instance's JSON, where id and URL do not describe it completely |
//! | `{NS}:events` | stream | an entry for each of the last 10,000 changes or so, with its `op` and its `id` |
//! | `{NS}:fence:ID` | string | the latest call of a driver for this instance, after one without an answer |
//!
//! The `op` of a change is `put`, `remove` or `expire`. A `put` has a `url` and a `meta`, too.
//!
//! All keys are in one slot of a cluster, so a namespace cannot be larger than one node. A change is one
//! script, so nobody sees half of it. A heartbeat that changes nothing is one round trip and adds no entry. A
//! snapshot is one transaction of plain reads, and includes the position in the stream from which to
//! follow. After a lost connection a watch continues if the entry at its position still exists, and
//! otherwise begins again with a snapshot. A watch has its own connection; all other calls of a driver share
//! another. A change alone is read at once; those that come within 50 ms after it are read together, so that a
//! rollout wakes each watcher at most twenty times a second.
//!
//! A call that got no answer, because its caller stopped waiting or the connection broke, may still arrive: after the
//! goodbye or the change that followed it by another connection. So for two minutes after such a call the server
//! remembers the driver's later ones, in fences, and what is older than these changes nothing.
//!
//! While a cluster moves the slot of a namespace to another node, nothing can be registered, and so nothing expires.
//!
//! Every process that watches also removes expired instances, a hundred at a time, and only when the oldest
//! lease has been over for a second. So this happens once a second at most, however many processes watch.
//!
//! # When an expired lease counts
//!
//! A dead instance looks like one that had no chance to renew. So an expired lease counts
//! only if its owner could have renewed it:
//!
//! - With each look, every five seconds at least, and with each `list`, the driver proves that the server
//!   accepts registrations, by a write that changes nothing. While that write is refused, because of memory,
//!   disk, replicas, a failover or a right that was taken away, both fail as `Unavailable`. After
//!   that, and after every other loss of contact, nothing is removed for half a lease.
//! - The server's clock is compared with this process's own. If it was set, the watch yields an
//!   `Err`, and nothing is removed for half a lease. Leases that became too long while the clock
//!   was ahead are shortened.
//! - For half a lease, a process that has just started removes only instances whose leases end after its start.
//! - A process that may only read, or reads from a replica, cannot prove this. It reports as expired
//!   the instances that others have removed, and those that others would remove, while it sees renewals.
//! - Only the stream contains goodbyes. If a field is gone without one, or the whole hash (`DEL`, an
//!   eviction), that is a loss: the watch yields an `Err`, and then a `Reset`. The owners register again.
//!
//! # Side by side with the Go library
//!
//! ```text
//! 127.0.0.1:6379> HGETALL gosd
//! 1) "mail-20160315122936.17256541"                  written by Go, with HSETNX
//! 2) "http://10.0.0.8:25"
//! 3) "mail-0198f3a2c1d07b6e9a4411d2c7a85e03"         written by this driver
//! 4) "http://10.0.0.7:25"
//! 127.0.0.1:6379> ZRANGE {gosd}:leases 0 -1 WITHSCORES
//! 1) "mail-0198f3a2c1d07b6e9a4411d2c7a85e03"
//! 2) "1763866800123"
//! ```
//!
//! Each library serves what the other wrote. The service of a Go process is its id up to the last `-`, and
//! its URL may be any text. Its record has no lease and stays until somebody deletes it, so remove the orphan
//! of a killed Go process with `deregister_url`.
//!
//! The Go library does not announce its changes. A watch looks for them every five seconds, in a time
//! that does not grow with the registry: at the number of fields and of leases, and at the
//! values of 500 fields without a lease, the next 500 each time. So with up to 500 instances of Go each change is
//! noticed within five seconds. With more, that is so where their number changes: the watch then searches for what
//! was added or removed, 500 fields at a time. A new URL of the same instance, and one that was
//! replaced by another between two looks, are noticed within five seconds for each 500 instances of Go. While Go
//! removes instances all the time, many of them may wait as long.
//!
//! Changes by Go processes to instances of this driver are noticed too: an instance that Go deletes
//! is missing until its owner's next heartbeat, and one whose lease was lost gets one lease in which to renew.
//! (An id that does not have gosd's form and never had a lease is taken for one of Go's.)
//!
//! # The server
//!
//! - Its user needs `~* +@read +@write +@connection +@scripting +multi +exec +time +info +role`; for a
//!   process that only discovers `~* +@read +@connection +multi +exec +time` will do, and it then
//!   leaves purging to others. Keys may be narrowed to `~NS ~{NS}:*`. `info` is for the warning of
//!   eviction, and `role` for the moment of a failover at which a sentinel still names a master that
//!   has become a replica; without them, the log says what is left out.
//! - `maxmemory-policy` should evict nothing, or only `volatile` keys; the driver warns of others.
//! - Persistence is not needed: the owners register again within a third of their lease.
//! - A namespace that nobody uses any more keeps its data; `DEL` of the first four keys removes it.
//!   They have no time to live, because Redis might then evict them.
//! - A failover of Redis can lose the latest changes. The next heartbeats restore them,
//!   and watchers notice the loss and begin again.
//!
//! # Figures
//!
//! `cargo bench -p gosd-redis` measures each against plain Redis with the same client library, in
//! alternating rounds of the same run. Medians of 11 rounds, on two cores that had other work too:
//!
//! | what | against | |
//! | --- | --- | --- |
//! | a change in another client's cache, median | `XADD` that wakes `XREAD` | 1.7x (80 us there) |
//! | the same, 99th percentile | the same | 2.2x (260 us there) |
//! | the same, median, among 100,000 instances of others | among none | 1.0x |
//! | 100,000 instances to a ready cache | `HGETALL` to pairs of strings | 1.2x (100 ms there) |
//! | the same | the bytes of that reply | 2.3x; the pairs take 2.0x |
//! | heartbeats on one connection | a script of one `ZADD` | 0.6x, or 100,000 a second |
//!
//! 10,000 instances that renew every five seconds take 1.3 % of one core of the server.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answers;
mod connection;
mod cursor;
mod doctor;
mod driver;
mod error;
mod evidence;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod look;
mod options;
mod order;
mod replies;
mod scripts;
mod snapshot;
mod socket;
mod unannounced;
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
        let driver: Arc<dyn Driver> = Arc::new(driver::Redis::new(options::Options::parse(url)?));
        Ok(driver)
    })
}
