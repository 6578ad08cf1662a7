//! The PostgreSQL driver of gosd, with leases and a watch that survives a failover. For PostgreSQL 12 or
//! later.
//!
//! The facade has the driver under its feature `postgres`. This crate alone makes a driver of a URL:
//!
//! ```
//! use gosd_core::Client;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> gosd_core::Result<()> {
//! // The driver connects only when it is first used.
//! let url = "postgres://shop:secret@127.0.0.1/shop?namespace=staging";
//! let driver = gosd_postgres::open(url).await?;
//! let builder = Client::builder(driver).register("mail", "http://10.0.0.7:25");
//! # let _ = builder;
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//!
//! `postgres://user:password@host,host:port/database?key=value`; `postgresql` is the same. By default the
//! host is `localhost`, the port 5432, the user `postgres`, and the database that of the user's name. Of
//! several hosts, the driver uses the first in the URL's order that accepts writes, and so passes a standby
//! over. If a host has several addresses, it uses the first that answers (RFC 8305). Unix sockets are not
//! supported, and neither are the environment's `PG..` variables.
//!
//! | key | |
//! | --- | --- |
//! | `namespace` | by default `gosd` |
//! | `sslmode` | `disable`, or `verify-full`: TLS, with a certificate for this host of a trusted authority |
//! | `ca` | a file of certificates to trust instead of the system's |
//! | `cert`, `key` | the files of the client's own certificate and its key |
//! | `target_session_attrs` | `read-write`, which is always the case |
//!
//! Without `sslmode` the driver uses plain text for a server on the loopback interface, and TLS for any other.
//! `require` and `verify-ca` are as strict as `verify-full`; `prefer` and `allow` are refused.
//!
//! # What it promises
//!
//! A change is one statement, and so is a heartbeat, which writes nothing to the log. The same
//! transaction that changes a row adds an entry to the log and sends its number by `NOTIFY gosd`.
//! Watchers then read the log from their positions on: for a change alone at once, and for those that
//! come within 50 ms after it together, so that a rollout is at most twenty reads a second. They also
//! read once a second, so they miss nothing where notifications do not arrive (a pooler in transaction
//! mode accepts `LISTEN` and forwards nothing), and warn of that once. The driver prepares no
//! statements and needs no session state, so such a pooler may be in between: all clauses of the
//! contract are tested behind PgBouncer, too. What is said often is a call of a function, for the
//! server keeps the plans of functions, and would plan a statement each time anew.
//!
//! Entries of the log are numbered in the order in which they become visible, because a transaction that writes
//! one holds an advisory lock until it is committed. The lock costs little, because `NOTIFY` takes a lock of
//! the whole server to commit in any case. Heartbeats take neither lock. So a transaction that changes an
//! instance and stays open keeps others from joining and leaving. That is an outage, in which no instance is
//! taken for dead. After a lost connection a watch continues if the log still has the entry at its position, and
//! otherwise begins again. A watch has its own connection; all other calls of a driver share another.
//!
//! Registrations do not wait for the disk (`synchronous_commit` is off only for them). What a crash or a
//! failover loses of them comes back with the next heartbeats, and watchers notice the loss. Goodbyes wait as
//! the server is set to.
//!
//! # When an expired lease counts
//!
//! Leases expire by the server's clock. Once a second, and with each `list`, the driver
//! proves that a registration would succeed, by a write to the row of the namespace in `gosd.pulses`,
//! unless another process has done so in the last half second. The same write removes expired instances.
//!
//! - While that write is refused (a full disk, a standby, a right that was taken away,
//!   `default_transaction_read_only`), `list` and a watch fail as `Unavailable`. Afterwards, and after any
//!   other loss of contact, each instance that had a lease when writes last succeeded gets half a lease to
//!   renew.
//! - A full disk refuses new instances first. The heartbeats of the others need no room and go on, until the
//!   server wants room for its own log. Then it ends, and has to be started when there is some.
//! - If the server's clock is set, each instance that had a lease gets a whole one, and leases that became too
//!   long are shortened.
//! - A process that has just started removes nothing for a second and a half, until the processes that know of
//!   such a change have looked.
//! - A process that may only read cannot prove this. It lists an instance until other processes have proved
//!   that its lease is over, and reports as expired the instances that they removed.
//!
//! A registration whose connection was given up takes no effect after a later goodbye: before the next write of the
//! same instance the driver ends the server's process of that connection (`pg_terminate_backend`). Behind a pooler the
//! registration may still wait in the pooler then; the instance is then back for a lease at most.
//!
//! # The server
//!
//! The first process creates the schema `gosd`, and needs the right to do so. Or create it for a user:
//!
//! ```sql
//! CREATE SCHEMA gosd AUTHORIZATION shop;
//! ```
//!
//! Where another user has created it, these rights are enough (for a process that only discovers, `USAGE` of
//! the schema and `SELECT` of the tables are enough):
//!
//! ```sql
//! GRANT USAGE ON SCHEMA gosd TO shop;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gosd TO shop;
//! GRANT USAGE ON ALL SEQUENCES IN SCHEMA gosd TO shop;
//! ```
//!
//! - A process uses two of the server's `max_connections`.
//! - Heartbeats are updates that touch no index and leave no dead row behind (HOT), in pages with room for
//!   them, and write no value anew that is stored apart from its row. So the table stays as large as its
//!   content, unless a transaction stays open for long.
//! - The log keeps the last 10,000 to 20,000 changes. `DROP SCHEMA gosd CASCADE` removes everything, and the
//!   living instances create the schema and register again.
//!
//! # Layout
//!
//! ```sql
#![doc = include_str!("layout.sql")]
//! ```
//!
//! An operator can list, add and delete instances with `psql`, and watchers see the changes:
//!
//! ```sh
//! psql -c "SELECT id, url FROM gosd.instances WHERE expires_at > now()"
//! ```
//!
//! # Figures
//!
//! `cargo bench -p gosd-postgres` measures each against plain PostgreSQL with the same client library, also
//! without prepared statements, in alternating rounds of the same run. Medians of 11 rounds, on two cores that
//! other work kept very busy, beside a server that wrote to memory:
//!
//! | what | against | |
//! | --- | --- | --- |
//! | an arrival in another client's cache | one statement, an `INSERT` that notifies a listener | 1.7x (300 us there) |
//! | the same, 99th percentile | the same | 1.3x (5 ms there), 0.3x to 2.2x in single rounds |
//! | a goodbye in another client's cache | the same | 1.5x |
//! | 100,000 instances to a ready cache | a `SELECT` to strings | 1.25x (190 ms there), 0.9x to 1.6x in single rounds |
//! | the same | the rows of that `SELECT` | 1.5x |
//! | heartbeats on one connection | an `UPDATE` by the key | 0.65x, or 2,700 a second |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod connection;
mod doctor;
mod driver;
mod error;
mod layout;
mod looks;
mod options;
mod socket;
mod statements;
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
        let options = options::Options::parse(url)?;
        Ok(Arc::new(driver::Postgres::new(options)) as Arc<dyn Driver>)
    })
}
