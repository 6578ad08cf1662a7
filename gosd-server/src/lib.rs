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
//! // .. until the process is to end:
//! server.shutdown().await;
//! # Ok(())
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
//! [`serve`] runs a server of its own; [`router`] mounts the API in yours, whose graceful end needs
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
//! - `/health` needs no token where there are tokens.
//!
//! Several tokens are valid at once: to rotate, add the new one, move the clients, drop the old one.
//! Tokens and bodies are in no log. What the database says of its failures goes to the log (`debug`),
//! and only its kind to clients. [`Limits`] bounds what clients can take of the server: requests and
//! watchers for each of them, connections and instances for all together.
//!
//! # How it works
//!
//! Lists, registrations and removals go straight to the driver, bounded by 5 s each. Each namespace
//! has one watch of its driver (or, if that has none, one reading a second), begun by the first who
//! needs it; its changes are kept, as they are sent, in a log of 8 MiB that all watchers read. A
//! watcher has no queue: one that reads slowly falls behind in the log, and starts again with a
//! snapshot if its place is gone, which shares what it has in common with all the others. When the
//! driver loses contact, the streams end and new ones are refused with 503, so that clients know;
//! when it is back they resume, or start again if the driver had to. A watcher that is gone without a
//! word, or reads no more, loses its place after [`Limits::patience`]; where the system is not Linux,
//! the former does when the system gives it up.
//!
//! With 1,000 watchers of 5,000 instances and 100 changes a second for a minute, on two cores that
//! the watchers and other work shared: 110,000 events a second, none missed; from a registration to
//! a watcher 38 ms in the median and 132 ms at the 99th percentile (31 and 343 ms beside several
//! compilers); 36 MiB of memory at the peak. To measure it anew:
//! `cargo bench -p gosd-server --bench load`.
//!
//! After a restart all ids of events are void, and watchers start again with a snapshot. Clients keep
//! what they know meanwhile: with a durable driver nothing else happens, with one in memory everybody
//! is back within one heartbeat.

mod auth;
mod events;
mod feed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod log;
mod places;
mod poll;
mod problem;
mod registration;
mod routes;
mod serve;
mod settings;
mod shared;
mod socket;
mod tls;

pub use limits::Limits;
pub use routes::{Streams, router, router_and_streams};
pub use serve::{Server, serve};
pub use settings::Settings;
