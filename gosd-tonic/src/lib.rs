#![doc = include_str!("../README.md")]

mod call;
mod channel;
mod connection;
mod credentials;
mod lent;
mod senders;

pub use channel::{Channel, channel, channel_of};
