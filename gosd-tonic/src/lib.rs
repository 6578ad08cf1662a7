//! For tonic 0.14: a gRPC channel over all instances of a service, in turn and without the dead.
#![doc = include_str!("../README.md")]

mod call;
mod channel;
mod connection;
mod credentials;
mod lent;
mod senders;

pub use channel::{Channel, channel};
