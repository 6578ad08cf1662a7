//! The driver over real sockets: against the registry server, and against servers that misbehave.

mod bad_servers;
mod conformance;
mod connections;
mod dead_peers;
mod fixture;
mod python;
mod services;
mod several;
mod support;
mod tls;
mod unix_socket;
