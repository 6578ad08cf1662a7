//! The server over real sockets: its API, its bounds, and the HTTP driver as its client.

mod access;
mod api;
mod attacks;
mod bad_requests;
mod dead_peers;
mod given_up;
mod limits;
#[path = "../load/mod.rs"]
mod load;
mod load_in_small;
mod metrics;
mod mounted;
mod outages;
#[cfg(feature = "page")]
mod page;
mod prometheus;
mod restart;
mod signals;
mod support;
mod unix_socket;
mod watching_services;
