#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod addresses;
mod credentials;
mod error;
#[cfg(feature = "middleware")]
mod middleware;
mod resolver;
mod send;
mod send_by;
mod target;

pub use error::Error;
#[cfg(feature = "middleware")]
pub use middleware::Balance;
pub use resolver::Resolver;
pub use send_by::SendBy;
