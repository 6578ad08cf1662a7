//! The core of gosd: the driver contract, the registry cache, and the client.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod change;
mod client;
mod driver;
mod driver_url;
mod error;
pub mod follow;
mod instance;
pub mod limits;
mod memory;
mod pace;
mod registry;
mod rules;
mod settings;
mod status;

// What the author of a driver needs of other crates.
pub use async_trait::async_trait;
pub use futures_util::future::BoxFuture;
pub use futures_util::stream::BoxStream;

pub use change::Change;
// For the facade, which knows what a driver needs of the runtime.
#[doc(hidden)]
pub use client::panics_in_silence;
pub use client::{Client, ClientBuilder, Counts, Service, ServiceStats, Stats, Turn};
pub use driver::{Driver, Event};
pub use driver_url::{DriverUrl, TlsFiles};
pub use error::{Error, ErrorKind, Result};
pub use instance::{Instance, InstanceId};
pub use memory::Memory;
pub use registry::Outcome;
pub use settings::Settings;
pub use status::{Registration, Status, View};

/// What the fuzz targets reach; only there with `--cfg fuzzing`.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::client::fuzzing::{read_snapshot, write_snapshot};
}
