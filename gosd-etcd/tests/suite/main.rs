//! The driver against real servers, which each test starts for itself.

mod conformance;
mod errors;
mod fixture;
mod registration;
mod support;
mod watch;
