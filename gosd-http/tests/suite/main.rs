//! The driver and the reference server, each against the other over real sockets.

mod access;
mod api;
mod bad_requests;
mod bad_servers;
mod conformance;
mod dead_peers;
mod fixture;
mod limits;
#[path = "../load/mod.rs"]
mod load;
mod load_in_small;
mod logs;
mod mounted;
mod python;
mod restart;
mod support;
