//! Requests against real servers: who gets them, how often, and what the caller hears.

#[cfg(feature = "middleware")]
mod balance;
mod cut_off;
mod examples;
mod killed;
mod names;
mod resending;
mod server;
mod spans;
mod support;
