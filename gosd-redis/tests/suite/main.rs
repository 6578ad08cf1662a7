//! The driver against real servers, which each test starts for itself.

mod bad_ground;
mod clock;
mod conformance;
mod doctor;
mod fixture;
mod go;
mod late;
mod layout;
mod leases;
mod losses;
mod sentinel;
mod support;
mod watch;
