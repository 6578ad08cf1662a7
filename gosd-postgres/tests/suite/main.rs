//! The driver against real servers, which each test starts for itself.

mod bad_ground;
mod clock;
mod conformance;
mod doctor;
mod failover;
mod fixture;
mod full_disk;
mod layout;
mod support;
mod watch;
