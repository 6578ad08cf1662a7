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
//! // Any driver will do: `gosd_sqlite::open("sqlite:gosd.db").await?` keeps what is registered.
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
//! curl -N localhost:4673/v1/gosd/events
//! curl -X DELETE localhost:4673/v1/gosd/instances/mail-1
//! ```
//!
//! [`serve`] runs a server of its own, `serve_unix` one on a Unix socket; [`router`] mounts the API in yours, whose graceful end needs
//! the handle of [`router_and_streams`].
//!
//! # Who gets in
//!
//! - With [tokens](Settings::token), who bears one. **Any token that may write may renew and remove
//!   any instance of any namespace of the server**: ids are no secrets. For namespaces with tokens of
//!   their own, mount two routers.
//! - Without, clients on the same host, and only if `Host` says that they mean this host, so that no
//!   web page can send a browser here. [`serve`] refuses to bind anything but loopback then. A
//!   proxy on the host makes all its clients local ones: behind one, configure a token.
//! - `/health` needs no token where there are tokens, and the page's files need none.
//!
//! Several tokens are valid at once: to rotate, add the new one, move the clients, drop the old one.
//! Tokens and bodies are in no log. What the database says of its failures goes to the log (`debug`),
//! and only its kind to clients.
//!
//! # For operators
//!
//! With the feature `page`, `/` is a page that shows what is registered, live, who came and went, and drains
//! instances with a token that may write. `/metrics` is how the server fares, in the text format of
//! Prometheus: `gosd_server_requests_total` by route, method and status, `_request_duration_seconds` by route,
//! `_refusals_total` by reason, `_watchers` and `_connections` with their limits, and for each namespace that
//! somebody registers in, `_instances`, `_events_total`, `_backend_up`, `_backend_losses_total` and
//! `_backend_contact_age_seconds`, which grows while its database is out of contact: that is what to be woken
//! by. `/v1/{namespace}/prometheus` is what there is to scrape, for `http_sd_configs`.
//!
//! # What clients can take
//!
//! [`Limits`] bounds it: requests, watchers and connections for each client and for all together,
//! instances and namespaces. What is refused for lack of a token is counted apart, so that it uses up
//! nothing of those who have one. Connections stay below the process's limit of open files; when they
//! run short, those go first by which no request was let in. Reading makes no namespace, and one that
//! nobody uses is given back. SECURITY.md says what this is meant to withstand.
//!
//! # How it works
//!
//! Registrations and removals go straight to the driver, bounded by 5 s each. A list is a reading of
//! the driver, one at a time and in half of the time at most, which serves all who asked before it
//! began: so reading never keeps a database from writes for longer than one list takes. What was read
//! is serialised once and shared by all answers, which hold 16 KiB each; superseded states that slow
//! readers still read are kept up to 64 MiB, and then the slowest readers are cut off.
//!
//! Each namespace has one watch of its driver (or, if that has none, one reading a second), begun by
//! the first who needs it, and opened again whenever it fails, ends or panics. Its changes are kept,
//! as they are sent, in a log of 8 MiB that all watchers read. A watcher has no queue: one that reads
//! slowly falls behind in the log, and starts again with a snapshot if its place is gone. When the
//! driver loses contact, as it does while its database takes no writes, the streams end, and new ones
//! and lists are refused with 503, so that clients know; when it is back they resume, or start again if
//! the driver had to. A watcher that is gone without a word, or reads no more, loses its place after
//! [`Limits::patience`]; where the system is not Linux, the former does when the system gives it up.
//!
//! What a fleet of watchers costs depends on the machine: `cargo bench -p gosd-server --bench load`
//! measures how fast changes reach 1,000 of them, and in how much memory.
//!
//! After a restart all ids of events are void, and watchers start again with a snapshot. Clients keep
//! what they know meanwhile: with a durable driver nothing else happens, with one in memory everybody
//! is back within one heartbeat.

mod admission;
mod auth;
mod call;
mod connections;
mod events;
mod feed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
mod limits;
mod listener;
mod listing;
mod log;
mod metrics;
mod namespaces;
#[cfg(feature = "page")]
mod page;
mod peer;
mod places;
mod poll;
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

pub use limits::Limits;
pub use routes::{Streams, router, router_and_streams};
#[cfg(unix)]
pub use serve::serve_unix;
pub use serve::{Server, serve};
pub use settings::Settings;
