//! Service discovery on a database that you already have.
//!
//! A service says its name and its URL when it starts. It is registered from then on, under a lease,
//! until it leaves or dies; every other service finds a live URL by name, in turn, in a cache that the
//! database keeps fresh. There is no agent, and no cluster to operate.
//!
//! # Five minutes
//!
//! Choose a driver by its feature, such as `cargo add gosd --features sqlite`. A service registers
//! itself, and finds others:
//!
//! ```no_run
//! #[tokio::main]
//! async fn main() -> gosd::Result<()> {
//!     // Registered from here on. Keep the client: without it nobody renews the registration.
//!     let gosd = gosd::start("orders", "http://10.0.0.7:8885").await?;
//!
//!     // A live URL of another service. Waits for it to appear; the next call gets the next instance.
//!     let mail = gosd.next("mail").await?;
//!     println!("sending by {}", mail.url());
//!
//!     // Says goodbye, so that nobody is sent here any more. SIGINT and SIGTERM do so by themselves; after
//!     // a panic or kill -9 the registration ends with its lease.
//!     gosd.shutdown().await
//! }
//! ```
//!
//! A program that registers nothing calls [`connect`]. Where waiting is wrong there is
//! [`Client::pick`], and on a hot path a [`Service`] for each task. SIGINT and SIGTERM make a started
//! client leave before they end the process; a server with a shutdown of its own awaits
//! [`Client::shutdown_on_signal`].
//!
//! # Choosing a driver
//!
//! The variable `gosdDriver` holds a driver's URL, or a bare scheme for that driver's defaults, such as
//! `sqlite:/var/lib/shop/gosd.db`. Unset, it is `redis` if one of the `gosdRedis*` variables is set, and
//! otherwise `sqlite` if that is compiled in. A driver of your own joins by [`Drivers::with`]. To build
//! the feature `etcd`, and no other, takes `protoc`.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `gosdDriver` | see above | which database |
//! | `gosdDriverAlso` | none | another database beside it: [`Both`] |
//! | `gosdRedisAddr`, `gosdRedisDB`, `gosdRedisPassword` | `localhost:6379`, `0`, none | for `redis`, when `gosdDriver` is unset or the bare `redis` |
//! | `gosdNamespace` | `gosd` | keeps environments on one database apart |
//! | `gosdTryRefreshAmount` | 3 | [`try_refresh_amount`](field@Settings::try_refresh_amount) |
//! | `gosdTryFindServiceAmount` | 5 | [`try_find_service_amount`](field@Settings::try_find_service_amount) |
//! | `gosdTryFindServiceDelay` | 3 (seconds) | [`try_find_service_delay`](field@Settings::try_find_service_delay) |
//! | `gosdLeaseTTL` | 15 (seconds) | [`lease_ttl`](field@Settings::lease_ttl) |
//! | `gosdRefreshInterval` | 5 (seconds) | [`refresh_interval`](field@Settings::refresh_interval) |
//! | `gosdMaxStale` | none (seconds) | [`max_stale`](field@Settings::max_stale) |
//! | `gosdSnapshotPath` | none | [`snapshot_path`](field@Settings::snapshot_path) |
//! | `gosdWatchOnDemand` | `false` | [`watch_on_demand`](field@Settings::watch_on_demand) |
//! | `gosdEjectAfter` | 3 | [`eject_after`](field@Settings::eject_after) |
//! | `gosdEjectFor` | 5 (seconds) | [`eject_for`](field@Settings::eject_for) |
//! | `gosdAdvertise` | none | what [`advertise`] gives: a host, or a URL with `{ip}`, `{port}`, `{hostname}` |
//! | `gosdDrain` | 1 (seconds) | [`drain`](field@Settings::drain) |
//!
//! # Without the environment
//!
//! ```
//! use std::time::Duration;
//! use gosd::{Client, Drivers, Settings};
//!
//! # async fn run() -> gosd::Result<()> {
//! let driver = Drivers::compiled().open("sqlite:/var/lib/shop/gosd.db").await?;
//! let client = Client::builder(driver)
//!     .register("orders", "http://10.0.0.7:8885")
//!     .settings(Settings::default().lease_ttl(Duration::from_secs(30)))
//!     .start()
//!     .await?;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod advertise;
mod diagnosis;
mod drivers;
mod env;
mod environment;
mod identity;
mod misspelt;
mod network;

pub use drivers::Drivers;
pub use environment::Environment;
#[doc(inline)]
pub use gosd_core::*;

/// Registers a service at a URL, and discovers, with the driver that the environment chooses.
///
/// SIGINT and SIGTERM (elsewhere Ctrl-C) make the client say goodbye, within 3 s, and the process serve on for
/// [`drain`](field@Settings::drain), before they end it. What earlier processes registered for the service at this
/// URL is removed, as after a process that was killed. So where several instances share a URL, such as that of a load
/// balancer, each start takes the others out for a moment: such services are built with [`Client::builder`].
///
/// If the database cannot be reached, the client starts all the same, and registers as soon as it can. A dropped
/// future leaves nothing behind but, perhaps, a registration until its lease runs out.
///
/// ```no_run
/// # async fn run() -> gosd::Result<()> {
/// let gosd = gosd::start("orders", "http://10.0.0.7:8885").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// - [`ErrorKind::Config`] if a variable has a bad value or chooses no driver, the name or the URL is
///   out of its limits, or outside a tokio runtime;
/// - [`ErrorKind::Denied`], [`ErrorKind::Data`] or [`ErrorKind::Unsupported`] if the database refuses
///   the client, or cannot be worked with.
#[doc(alias = "Start")]
pub async fn start(service: &str, url: &str) -> Result<Client> {
    Drivers::compiled().start(service, url).await
}

/// Discovers, and registers nothing, with the driver that the environment chooses.
///
/// Signals are left alone: there is nothing to say goodbye for.
///
/// ```no_run
/// # async fn run() -> gosd::Result<()> {
/// let gosd = gosd::connect().await?;
/// println!("sending by {}", gosd.next("mail").await?.url());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As for [`start`].
pub async fn connect() -> Result<Client> {
    Drivers::compiled().connect().await
}

/// The URL under which others reach a listener that is bound to this address.
///
/// It is what `gosdAdvertise` says, if that is set: a host, a host and port, or a whole URL, in which
/// `{ip}`, `{port}` and `{hostname}` are filled in. Otherwise it is the bound address, and for a
/// wildcard such as `0.0.0.0` the address from which this host reaches the database, because whoever
/// shares the registry reaches that, too. No packet is sent for it, but a name is looked up, which may
/// block for a moment. Behind address translation, such as a published port of a container, nobody but
/// you knows the address: set the variable.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await?;
/// let gosd = gosd::start("orders", &gosd::advertise(listener.local_addr()?)?).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ErrorKind::Config`] for port 0, for a listener on loopback while the database is on another host,
/// if no address faces the database, or if a variable has a bad value.
pub fn advertise(bound: std::net::SocketAddr) -> Result<String> {
    advertise::advertise(bound, &env::process, Drivers::compiled().default_scheme())
}

/// The settings that the environment gives, for a client that is built by hand.
///
/// ```
/// use std::sync::Arc;
/// use gosd::{Client, Memory};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let client = Client::builder(Arc::new(Memory::new())).settings(gosd::settings()?).start().await?;
/// # Ok::<(), gosd::Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`ErrorKind::Config`] if a variable has a bad value, naming the variable, the value and what was
/// expected.
pub fn settings() -> Result<Settings> {
    env::settings(&env::process)
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../DRIVERS.md")]
struct Pages;
