//! The core of gosd: the driver contract, the registry cache, and the client.
#![cfg_attr(docsrs, feature(doc_cfg))]

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
    Driver, DriverUrl, Error, ErrorKind, Event, Instance, InstanceId, Memory, Result, TlsFiles,
    limits,
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
