//! The HTTP driver of gosd, a service discovery client: for a registry behind an API of your own, or
//! behind the registry server of the crate `gosd-server`.
//!
//! The API is [`OPENAPI`]: whoever implements it, in any language, is a backend of gosd. The crate
//! `gosd-server` implements it over any [`Driver`], so that a team without a database server runs one
//! small process over an SQLite file, and services in other languages register with `curl`.
//!
//! ```no_run
//! # async fn example() -> gosd_core::Result<()> {
//! use gosd_core::Client;
//!
//! let driver = gosd_http::open("https://:TOKEN@registry.example.com/?namespace=staging").await?;
//! let client = Client::builder(driver).register("mail", "http://10.0.0.7:8885").start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//!
//! `http(s)://[:token@]host[:port][,host[:port]...][/prefix][?key=value&...]`; `http` alone is
//! `http://localhost:4673`, the registry server's usual place. A token is sent as a bearer token, so
//! use `https` beyond a host's own loopback. On Unix, `http+unix:///run/gosd.sock[?key=value&...]`
//! names the socket of a server on the same host, whose file's permissions may take the place of a
//! token. The keys:
//!
//! | key | meaning |
//! | --- | --- |
//! | `namespace` | the namespace; by default `gosd` |
//! | `ca` | a PEM file of the certificates to trust, instead of the system's |
//! | `cert`, `key` | PEM files of a client certificate and its key |
//! | `watch` | `off` has core poll the server, which then needs no event stream |
//!
//! # Several servers
//!
//! `http://a:4673,b:4673,c:4673/` names servers that stand in for each other, because they have one database
//! behind them; the path, the token and the certificates are the same for all. So the database has three
//! watchers, however many clients there are, and a server can be killed, frozen or restarted without any
//! client losing its registration or its view.
//!
//! - Each driver has an order of its own, which is random, and asks the first server in it. A server that
//!   fails costs nothing: the next one is asked at once. While a server is silent, the next one is asked beside
//!   it, so that all are asked within 2 s, or within a fifth of the lease if that is shorter; the answer that
//!   comes first counts. Whoever answered is asked first from then on. The rest of a list comes from the server that
//!   began it; if that stalls or breaks off, the next call begins with another server.
//! - A server whose event stream falls silent, or ends within 8 s, is left for another.
//! - An event stream that breaks off goes on with all instances at another server, because a position in the
//!   events of one server means nothing to another. Core's pauses before that are random, so that the clients
//!   of a server that was killed do not come to the others at one moment. A server that is shut down sends its
//!   clients away one after the other.
//! - After 30 to 90 s away from the first server in its order, a driver asks that one again, and if it answers,
//!   requests and events come from it again. So the load is even some time after any restart. Its events begin with
//!   all instances, and for half a lease after that core keeps whom they lack, for it cannot know whether they died.
//! - A goodbye waits, for 2 s at most, until the registrations before it are answered, and a server drops a request
//!   whose client is gone. But what a server has passed on to its database by then cannot be taken back, and of calls
//!   by two servers the database may take either first. So if the database hangs, or the first server or its way
//!   there, an instance that has left through another server can be registered once more after its goodbye.
//!   It is then listed for one lease, counted from that write, and no longer, because nobody renews it. In the same
//!   way an older content can replace a newer one, until the next heartbeat.
//! - A failure of a single server is one warning in the log. If no server does what it is asked, the error
//!   says what each of them said.
//!
//! # What a server must have
//!
//! At least `GET /v1/{namespace}/instances`, and `PUT` and `DELETE` of
//! `/v1/{namespace}/instances/{id}`, with leases that expire by the server's clock; its clients then use
//! `watch=off`. With an `ETag` unchanged lists are not sent again. With `GET /v1/{namespace}/events`, changes
//! arrive when they happen. For clients that watch on demand (`Settings::watch_on_demand`) a server knows the
//! query `service` of both as the specification has it. It may also ignore that query, or refuse it with 400:
//! then these clients read everything. To check whether a server keeps the contract, run the conformance kit,
//! `gosd-testkit`, over this driver.
//!
//! # What the driver does
//!
//! It keeps connections open between calls, and has another one for a watch. An event stream that is
//! silent for 8 s counts as dead; the next one resumes after the last event, if the server still can.
//! Services that do not fit into 4 KiB of a URL, or have a comma in their names, are watched with all others.
//! Redirects are not followed, so that a token goes to no other server; proxies of the environment are not
//! used. An answer of another type than announced, or longer than 128 MiB, is an error and never an
//! empty list. If a host has several addresses, the driver uses the first that answers. An answer that is not
//! part of the API, such as the page of a proxy whose registry restarts, counts as an outage, after which core
//! tries again. The certificates are read again for each connection.
//! The cryptography of TLS is the process's default provider of rustls, or one that the features
//! `tls-ring` and `tls-aws-lc` compile in.
//!
//! An id of `.` or `..` cannot be in a path: such an instance is not registered, and not removed.

mod connection;
mod connector;
mod doctor;
mod driver;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod given_up;
mod options;
mod servers;
mod sse;
mod watch;
mod wire;

use std::sync::Arc;

use gosd_core::{BoxFuture, Driver, Result};

pub use doctor::diagnose;

/// The specification of the API, in OpenAPI 3.1 (YAML).
///
/// ```
/// assert!(gosd_http::OPENAPI.starts_with("openapi: 3.1.0\n"));
/// ```
pub const OPENAPI: &str = include_str!("../openapi.yaml");

/// Makes a driver of a URL of the scheme `http`, `https` or, on Unix, `http+unix`.
///
/// Nothing is read or connected yet: that is done with the first call that needs it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let driver = gosd_http::open("http://:TOKEN@registry:4673").await?;
/// assert_eq!(driver.name(), "http");
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`ErrorKind::Config`](gosd_core::ErrorKind::Config), saying what of the URL cannot work. The
/// message never holds the token.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let driver: Arc<dyn Driver> = Arc::new(driver::Http::new(options::Options::parse(url)?)?);
        Ok(driver)
    })
}
