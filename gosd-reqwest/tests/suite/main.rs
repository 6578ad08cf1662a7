//! Requests to real servers: which server gets them, how often, and what the caller receives.

#[cfg(feature = "middleware")]
mod balance;
mod credentials;
mod cut_off;
mod examples;
mod killed;
mod names;
mod resending;
mod server;
mod spans;
mod support;
mod unusable;
