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
//! A host may have several addresses; the first that answers counts (RFC 8305). Unix sockets are not
//! supported. With `rediss` in place of `redis` all connections are by TLS, those to sentinels too. Query keys:
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
//! # When a lease that ran out counts
//!
//! A dead instance and one that had no chance to renew look alike. So a lease that ran out counts
//! only if its owner could have renewed it:
//!
//! - With each look, every five seconds at least, and each `list`, the driver proves that the server
//!   takes registrations, by a write that changes nothing. While it is refused, because of memory,
//!   disk, replicas, a failover or a right that was taken away, both fail as `Unavailable`. After
//!   that, and after every other loss of contact, nothing is removed for half a lease.
//! - The server's clock is compared with this process's own. If it was set, the watch says so by an
//!   `Err`, and nothing is removed for half a lease. Leases that were made too long by a clock that
//!   ran ahead are corrected.
//! - Who has just come removes only what runs out from then on, for half a lease.
//! - A process that may only read, or reads from a replica, cannot find out. It reports as expired
//!   what others have removed, and what they would have, as far as they are seen to renew.
//! - Only the stream says goodbye. A field that is gone without a word, or the whole hash (`DEL`, an
//!   eviction), is a loss: an `Err`, and then all that there is. The owners register again.
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
//! values of the fields without a lease. If a field was added, it is then searched for, 500 fields at
//! a time. What Go processes do to instances of this driver shows too: one that is deleted is missing
//! until its owner's next heartbeat, and one whose lease was lost gets one lease to be renewed in. (An
//! id that has neither the form of gosd's nor ever had a lease is taken for one of Go's.)
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
//! - A namespace that nobody uses any more keeps what was in it; `DEL` of the four keys removes it.
//!   They have no time to live of their own, for then Redis might evict them.
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
/// [`Config`](gosd_core::ErrorKind::Config) if the URL cannot be right, saying what is wrong with it.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let driver: Arc<dyn Driver> = Arc::new(driver::Redis::new(options::Options::parse(url)?));
        Ok(driver)
    })
}
