//! The core of gosd: the driver contract, the registry cache, and the client.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod driver;
mod driver_url;
mod error;
mod instance;
mod limits;
mod memory;
mod settings;

// What the author of a driver needs of other crates.
pub use async_trait::async_trait;
pub use futures_util::future::BoxFuture;
pub use futures_util::stream::BoxStream;

pub use driver::{Driver, Event};
pub use driver_url::{DriverUrl, TlsFiles};
pub use error::{Error, ErrorKind, Result};
pub use instance::{Instance, InstanceId};
pub use memory::Memory;
pub use settings::Settings;
