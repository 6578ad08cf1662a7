//! The driver against real servers, which each test starts for itself.

mod bad_ground;
mod conformance;
mod fixture;
mod go;
mod layout;
mod sentinel;
mod support;
mod watch;
