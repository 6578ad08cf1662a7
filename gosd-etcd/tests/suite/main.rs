//! The driver against real servers, which each test starts for itself.

mod bad_ground;
mod cluster;
mod conformance;
mod errors;
mod fixture;
mod history;
mod lost_answers;
mod registration;
mod support;
mod watch;
