//! The Redis driver of gosd: leased, pushed, and shared with the Go library. For Redis 5.0 or later,
//! and Valkey.
//!
//! The facade has it under its feature `redis`; by itself it makes a driver of a URL:
//!
//! ```
//! use gosd_core::Client;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> gosd_core::Result<()> {
//! // Connects only when it is first needed.
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
//! With `rediss` in place of `redis` all connections are by TLS, those to sentinels too. Query keys:
//! `namespace` (by default `gosd`); for TLS `ca`, a file of certificates to trust in place of the
//! system's, and `cert` and `key`, the files of the client's own. Sentinels are asked without a
//! password, and with that of the URL if they want one.
//!
//! # Layout
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `NS` | hash | id -> URL, as the Go library has it |
//! | `{NS}:leases` | sorted set | id -> when its lease runs out, in ms by the server's clock |
//! | `{NS}:meta` | hash | id -> the instance's JSON, where id and URL do not say all |
//! | `{NS}:events` | stream | one entry a change, about 10,000 of them: `op` (`put`, `remove`, `expire`), `id`; `url` and `meta` with `put` |
//!
//! All are in one slot of a cluster, so a namespace is as large as one node. A change is one script,
//! so nobody sees half of it; a heartbeat that changes nothing is one round trip and no entry. A
//! snapshot is one transaction of plain reads, and tells the position in the stream from which to
//! follow. A watch goes on after a lost connection if the entry at its position still exists, and
//! else begins again with a snapshot. It has a connection of its own, all else of a driver another.
//!
//! Whoever watches also removes what has expired, a hundred at a time, and only when the oldest is
//! overdue by a second: so it is done once a second at most, however many watch.
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
//! Each serves what the other wrote. The service of a Go process is its id up to the last `-`, and
//! its URL is any text. It has no lease: it stays until somebody deletes it, so the orphan of a
//! killed Go process is for `deregister_url` to remove.
//!
//! The Go library tells nobody of its changes. A watch notices them within five seconds, in a time
//! that does not grow with the registry: from the number of fields and of leases, and from the
//! values of the fields without a lease. It then reads the registry once. What Go processes do to
//! instances of this driver shows too: one that is deleted is gone until its owner's next heartbeat,
//! and one whose lease was lost (not in the form of an id of Go's) gets one lease to be renewed in.
//!
//! # The server
//!
//! - Its user needs `~* +@read +@write +@connection +@scripting +multi +exec +time`; for a process
//!   that only discovers `~* +@read +@connection +multi +exec +time` will do, and it then leaves
//!   purging to others. Keys may be narrowed to `~NS ~{NS}:*`.
//! - `maxmemory-policy` should evict nothing, or only `volatile` keys; the driver warns of others.
//! - Persistence is not needed: the owners register again within a third of their lease.
//! - A failover can lose the latest changes, by the nature of Redis; the next heartbeats bring them
//!   back, and watchers notice and begin again.
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

mod connection;
mod cursor;
mod driver;
mod error;
mod evidence;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod look;
mod options;
mod replies;
mod scripts;
mod snapshot;
mod socket;
mod unannounced;
mod watch;

use std::sync::Arc;

use gosd_core::{BoxFuture, Driver, Result};

/// Makes a driver of a [URL](crate#urls). It connects when it is first used.
///
/// # Errors
///
/// [`Config`](gosd_core::ErrorKind::Config) if the URL cannot be right, saying what is wrong with it.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let driver: Arc<dyn Driver> = Arc::new(driver::Redis::new(options::Options::parse(url)?));
        Ok(driver)
    })
}
