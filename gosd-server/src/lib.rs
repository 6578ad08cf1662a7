//! The registry server of gosd, a service discovery client: an HTTP API over any
//! [`Driver`](gosd_core::Driver).
//!
//! With it, a team without a database server runs one small process over an SQLite file, and services
//! in other languages register with `curl`. Services in Rust use the driver of the crate `gosd-http`,
//! which also has the specification of the API.
//!
//! ```no_run
//! # async fn example() -> gosd_core::Result<()> {
//! use std::sync::Arc;
//! use gosd_core::Memory;
//! use gosd_server::{Settings, serve};
//!
//! // Any driver will do: `gosd_sqlite::open("sqlite:gosd.db").await?` keeps the registry in a file.
//! let driver = Arc::new(Memory::new());
//! let server = serve("127.0.0.1:4673", Settings::new().namespace("gosd", driver)?).await?;
//! println!("http://{}", server.address());
//! // Until SIGTERM or Ctrl-C:
//! server.shutdown_on_signal().await
//! # }
//! ```
//!
//! ```sh
//! curl -X PUT localhost:4673/v1/gosd/instances/mail-1 -H 'content-type: application/json' -d '{
//!   "instance": {"id": "mail-1", "service": "mail", "url": "http://10.0.0.7:8885"}, "lease_ms": 15000}'
//! curl localhost:4673/v1/gosd/instances
//! curl -N 'localhost:4673/v1/gosd/events?service=mail,orders'
//! curl -X DELETE localhost:4673/v1/gosd/instances/mail-1
//! ```
//!
//! [`serve`] runs a server on an address, and `serve_unix` one on a Unix socket. [`router`] mounts the API in
//! your own server; if that ends gracefully, use [`router_and_streams`].
//!
//! # Who gets in
//!
//! - With [tokens](Settings::token), clients that send one. **Any token that may write may renew and remove
//!   any instance of any namespace of the server**, because ids are no secrets. For namespaces with separate
//!   tokens, mount two routers.
//! - Without tokens, clients on the same host, and only if `Host` names this host, so that no web page
//!   can make a browser send requests here. [`serve`] then refuses to bind any address but loopback. A
//!   proxy on the host makes all its clients local ones: behind a proxy, configure a token.
//! - `/health` and the page's files need no token, even where there are tokens.
//!
//! Several tokens may be valid at once: to rotate, add the new token, move the clients, drop the old token.
//! Tokens and bodies are in no log. The message of a database's error goes to the log (`debug`), and only
//! the kind of the error to clients.
//!
//! # For operators
//!
//! With the feature `page`, `/` is a page that shows, live, what is registered and which instances came and
//! went. With a token that may write, the page drains instances. `/metrics` are the server's metrics, in
//! the text format of Prometheus: `gosd_server_requests_total` by route, method and status,
//! `_request_duration_seconds` by route, `_refusals_total` by reason, `_watchers` and `_connections` with
//! their limits, and for each namespace with registrations, `_instances`, `_events_total`, `_backend_up`,
//! `_backend_losses_total` and `_backend_contact_age_seconds`, which grows while the database is out of
//! contact: alert on that one. `/v1/{namespace}/prometheus` lists the scrape targets, for
//! `http_sd_configs`.
//!
//! # What clients may use
//!
//! [`Limits`] limits requests, watchers with the services that they name, and connections for each client and for
//! all together, instances and namespaces. Requests that are refused for lack of a token are counted separately, so that
//! they use up nothing of the clients that have one. Connections stay below the process's limit of open
//! files. When there are too many, those without an admitted request are closed first. A read creates no
//! namespace, and a namespace that nobody uses is closed. SECURITY.md says which attacks this withstands.
//!
//! # How it works
//!
//! Registrations and removals go straight to the driver, bounded by 5 s each. Lists are read from the
//! driver one at a time, with a pause after each that is as long as the read took, up to 250 ms; one read serves
//! all clients that asked before it began. So reads never keep a database from writes for longer than one list takes. A list
//! is serialised once and shared by all answers, which hold 16 KiB each. Superseded lists that slow
//! clients still read are kept up to 64 MiB in all; beyond that the slowest clients are cut off.
//!
//! Each namespace has one watch of its driver (or one read a second, if the driver has none, and more, with
//! such pauses, while clients ask for the health or begin to watch). The watch is
//! opened when it is first needed, and again whenever it fails, ends or panics. Its changes are kept,
//! serialised, in a log of 8 MiB that all watchers read. A change alone is sent at once, and those that come
//! within 50 ms after it are sent together. A watcher has no queue: a slow one falls behind in
//! the log, and starts again with a snapshot if the log no longer has its position. When the driver loses
//! contact, or its database refuses writes, the streams end, and new streams and lists are refused with
//! 503, so that clients learn of it. When contact is back, watchers resume, or start again if the driver's
//! watch did. A watcher that disappears without closing its connection, or stops reading, loses its place
//! after [`Limits::patience`]; one that disappears, on systems other than Linux, when the system gives the
//! connection up.
//!
//! What a fleet of watchers costs depends on the machine: `cargo bench -p gosd-server --bench load`
//! measures how fast changes reach 1,000 of them, and in how much memory.
//!
//! After a restart all ids of events are void, and watchers start again with a snapshot. Clients keep
//! their views meanwhile. With a durable driver nothing else happens; with one in memory all instances
//! are registered again within one heartbeat.

mod admission;
mod auth;
mod call;
mod change;
mod connections;
mod events;
mod feed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod grouped;
mod handlers;
mod limits;
mod listener;
mod listing;
mod log;
mod metrics;
mod namespaces;
mod news;
mod notice;
#[cfg(feature = "page")]
mod page;
mod peer;
mod places;
mod poll;
mod probed;
mod problem;
mod registration;
mod routes;
mod serve;
mod settings;
mod shared;
mod signals;
mod snapshot;
mod socket;
mod targets;
mod task;
mod tls;
mod wanted;
mod watching;

pub use limits::Limits;
pub use routes::{Streams, router, router_and_streams};
#[cfg(unix)]
pub use serve::serve_unix;
pub use serve::{Server, serve};
pub use settings::Settings;
