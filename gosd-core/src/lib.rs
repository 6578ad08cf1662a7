//! The core of gosd, service discovery on a database that you already have: the contract that a driver
//! keeps, and the client that everything else is for.
//!
//! # For users
//!
//! Most programs depend on the crate `gosd`, which re-exports all of this, brings the drivers and chooses
//! one by the environment. Here is what they then hold: a [`Client`], made of a driver.
//!
#![cfg_attr(feature = "client", doc = "```")]
#![cfg_attr(not(feature = "client"), doc = "```ignore")]
//! use std::sync::Arc;
//! use gosd_core::{Client, Memory};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let registry = Memory::new(); // or `gosd_redis::open("redis://10.0.0.5").await?`
//! let mail = Client::builder(Arc::new(registry.clone()))
//!     .register("mail", "http://10.0.0.7:25")
//!     .start()
//!     .await?;
//! let orders = Client::builder(Arc::new(registry)).start().await?; // registers nothing
//!
//! assert_eq!(orders.next("mail").await?.url(), "http://10.0.0.7:25");
//! mail.shutdown().await?; // says goodbye, so that nobody is sent there any more
//! # Ok::<(), gosd_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! - [`Client::next`] waits for a service to appear, [`Client::pick`] never waits, and a [`Service`] is the
//!   handle for a hot path. [`Client::turn`] goes on to another instance when a request fails.
//! - [`Client::status`] says whether others can find this process, and how current its own view is.
//! - [`Settings`] has the lease, the bounds and the intervals; [`ClientBuilder`] takes them.
//! - Every failure is an [`Error`], whose [`ErrorKind`] says what to do about it.
//!
//! # For authors of drivers
//!
//! A driver is an implementation of [`Driver`]: three methods, and a fourth for speed. What it promises is
//! on that page, clause by clause. It needs [`Instance`], [`Event`], [`Error`] and [`DriverUrl`], and none
//! of the client, so depend on this crate without it:
//!
//! ```toml
//! gosd-core = { version = "0.1", default-features = false }
//! ```
//!
//! The repository's `DRIVERS.md` has a driver to start from, `gosd-testkit` tests each clause, and `gosd-net`
//! has TLS and connections. [`Memory`] is a driver to compare with.
//!
//! # For maintainers
//!
//! ```text
//!   contract/   Driver, Instance, Event, Error, DriverUrl, limits, Memory, Both; imports nothing of the rest
//!      |
//!   follow      calls a driver, and follows its watch: bounded, retried, unharmed by a panic
//!      |
//!   client/     keeper: reads and follows the registry    lease: keeps the own instance registered
//!      |                      |  events, reads                        |  heartbeats
//!      |        state: hands each to the registry with the time, and says what came of it
//!      |                      |
//!   registry/   contact: may this answer be believed?     known: who is there, who is missing
//!                             |                           aside, ejection: who is out of the rotation
//!               directory: one published pointer; a pick reads it and moves one counter
//! ```
//!
//! - `contract/` is what outsiders build on, and changes least. The other folders are the engine, behind the
//!   feature `client`.
//! - `registry/` is a state machine without I/O, tasks or a clock. `docs/design.md` in the repository says
//!   what it may conclude from what it hears, and `rules.rs` names each rule, so that the simulation can
//!   break it.
//! - A task belongs to a client and ends with it; no lock is held across an `.await`; readers never lock.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "client"), allow(rustdoc::broken_intra_doc_links))]

mod contract;

// The engine, which no driver needs.
#[cfg(feature = "client")]
mod change;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
pub mod follow;
#[cfg(feature = "client")]
mod pace;
#[cfg(feature = "client")]
mod registry;
#[cfg(feature = "client")]
mod rules;
#[cfg(feature = "client")]
mod settings;
#[cfg(feature = "client")]
mod status;

// What the author of a driver needs of other crates.
pub use async_trait::async_trait;
pub use futures_util::future::BoxFuture;
pub use futures_util::stream::BoxStream;

pub use contract::{
    Both, Driver, DriverUrl, Error, ErrorKind, Event, Fact, Instance, InstanceId, Memory, Result,
    TlsFiles, limits,
};

#[cfg(feature = "client")]
pub use change::Change;
// For the facade, which knows what a driver needs of the runtime.
#[cfg(feature = "client")]
#[doc(hidden)]
pub use client::panics_in_silence;
#[cfg(feature = "client")]
pub use client::{
    Attempts, Client, ClientBuilder, Counts, Failure, Resend, Service, ServiceStats, Stats, Turn,
    split_credentials,
};
#[cfg(feature = "client")]
pub use registry::Outcome;
#[cfg(feature = "client")]
pub use settings::Settings;
#[cfg(feature = "client")]
pub use status::{Registration, Status, View};

/// What the fuzz targets reach; only there with `--cfg fuzzing`.
#[cfg(all(fuzzing, feature = "client"))]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::client::fuzzing::{read_snapshot, write_snapshot};
}
