//! The contract between a driver and the rest of gosd, without the implementation of either.
//!
//! A driver implements [`Driver`]: it is given an [`Instance`] to register, and returns instances, [`Event`]s
//! and [`Error`]s. [`DriverUrl`] parses its URL, [`limits`] has the rules for what may be registered, and
//! [`Memory`] is a driver to compare with.
//!
//! This folder imports nothing of the engine beside it (the client and its registry cache, behind the feature
//! `client`), so that drivers by others compile without the engine and do not break with it. `scripts/test`
//! checks that. The few items with `cfg(feature = "client")` need the private fields of a type of this
//! folder, and only the engine calls them.

mod address;
mod both;
mod driver;
mod driver_url;
mod error;
mod fact;
mod id;
mod instance;
pub mod limits;
mod memory;

pub use both::Both;
pub use driver::{Driver, Event};
pub use driver_url::{DriverUrl, TlsFiles};
pub use error::{Error, ErrorKind, Result};
pub use fact::Fact;
#[cfg(feature = "client")]
pub(crate) use id::DRAIN;
pub use id::InstanceId;
pub use instance::Instance;
pub use memory::Memory;
