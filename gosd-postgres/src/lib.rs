//! The PostgreSQL driver of gosd: leased, pushed, and found again after a failover. For PostgreSQL 12 or
//! later.
//!
//! The facade has it under its feature `postgres`; by itself it makes a driver of a URL:
//!
//! ```
//! use gosd_core::Client;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> gosd_core::Result<()> {
//! // Connects only when it is first needed.
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
//! several hosts the first counts that takes writes, in the order of the URL: a standby is passed over. A
//! host may have several addresses; the first that answers counts (RFC 8305). Unix sockets are not
//! supported, and neither are the environment's `PG..` variables.
//!
//! | key | |
//! | --- | --- |
//! | `namespace` | by default `gosd` |
//! | `sslmode` | `disable`, or `verify-full`: TLS, with a certificate for this host by a known authority |
//! | `ca` | a file of certificates to trust in place of the system's |
//! | `cert`, `key` | the files of the client's own |
//! | `target_session_attrs` | `read-write`, which it is in any case |
//!
//! Without `sslmode` a server on the loopback interface is spoken to in plain text, and every other by TLS.
//! `require` and `verify-ca` are as strict as `verify-full`; `prefer` and `allow` are refused.
//!
//! # What it promises
//!
//! A change is one statement, and so is a heartbeat, which writes nothing to the log. The same transaction
//! that changes a row writes the log and rings by `NOTIFY gosd` with the number of the entry; watchers
//! read on from theirs. They also look once a second, so they miss nothing where notifications do not come
//! (a pooler in transaction mode takes `LISTEN` and passes nothing on), and say so once. No statement is
//! prepared and no session is set up: such a pooler may stand between.
//!
//! Entries of the log are numbered in the order in which they can be seen: whoever writes one holds an
//! advisory lock until it is committed. It costs little, because `NOTIFY` takes a lock of the whole server
//! to commit in any case; heartbeats take neither. So whoever changes an instance in a transaction and
//! leaves it open keeps others from joining and leaving: that is an outage, in which nobody is taken for
//! dead. A watch goes on after a lost connection if the entry at its position still exists, and else begins
//! again. It has a connection of its own, all else of a driver another.
//!
//! The disk is not waited for (`synchronous_commit` is off for these statements alone): what a crash or a
//! failover loses comes back with the next heartbeats, and watchers notice.
//!
//! # When a lease that ran out counts
//!
//! Leases are judged by the server's clock. With each look, once a second, and with each `list`, the driver
//! proves that a registration would be taken, by a write to the row of the namespace in `gosd.pulses`,
//! unless somebody has done so in the last half second; who does it removes what has expired.
//!
//! - While that is refused (a full disk, a standby, a right that was taken away,
//!   `default_transaction_read_only`), `list` and a watch fail as `Unavailable`. Afterwards, and after every
//!   other loss of contact, whoever had a lease when writes were last taken gets half of one to renew in.
//! - If the server's clock is set, whoever had a lease gets a whole one, and those that the clock made too
//!   long are cut.
//! - Who has just come removes nothing for a second and a half, until those that know of either have looked.
//! - A process that may only read cannot find out. It lists an instance until others have proved that its
//!   lease is over, and reports as expired what they removed.
//!
//! A registration that was given up is not done after the goodbye that follows it: before its next write a
//! driver ends the server's process of the connection that it gave up (`pg_terminate_backend`).
//!
//! # The server
//!
//! Whoever comes first makes the schema `gosd`, and needs the right to create it; or give it to a user:
//!
//! ```sql
//! CREATE SCHEMA gosd AUTHORIZATION shop;
//! ```
//!
//! Where another user has made it, this is enough (and for a process that only discovers, `USAGE` of the
//! schema and `SELECT` of the tables):
//!
//! ```sql
//! GRANT USAGE ON SCHEMA gosd TO shop;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gosd TO shop;
//! GRANT USAGE ON ALL SEQUENCES IN SCHEMA gosd TO shop;
//! ```
//!
//! - A process takes two connections of `max_connections`.
//! - Heartbeats are updates that touch no index and leave no row behind (HOT), in pages with room for them:
//!   the table stays as large as what is in it, unless a transaction stays open for long.
//! - The log keeps the last 10,000 to 20,000 changes. `DROP SCHEMA gosd CASCADE` removes everything; those
//!   who are alive make it anew.
//!
//! # Layout
//!
//! ```sql
#![doc = include_str!("layout.sql")]
//! ```
//!
//! Anybody can list, add and delete with `psql`, and is heard:
//!
//! ```sh
//! psql -c "SELECT id, url FROM gosd.instances WHERE expires_at > now()"
//! ```
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
/// [`Config`](gosd_core::ErrorKind::Config) if the URL cannot be right, saying what is wrong with it.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let options = options::Options::parse(url)?;
        Ok(Arc::new(driver::Postgres::new(options)) as Arc<dyn Driver>)
    })
}
