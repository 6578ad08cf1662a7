//! For tower 0.5 and http 1: requests to a service by its name, for whatever sends `http::Request`.
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod balance;
mod credentials;
#[cfg(feature = "discover")]
mod discover;
mod target;

pub use balance::{Balance, BalanceLayer};
#[cfg(feature = "discover")]
pub use discover::discover;
