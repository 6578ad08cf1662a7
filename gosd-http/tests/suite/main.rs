//! The driver and the reference server, each against the other over real sockets.

mod conformance;
mod fixture;
mod support;
