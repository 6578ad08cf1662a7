//! The driver against real servers, which each test starts for itself.

mod conformance;
mod fixture;
