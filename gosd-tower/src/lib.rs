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
