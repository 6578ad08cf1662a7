//! Tests gosd under faults of its backends, and checks the results.
//!
//! In a [trial], clients look services up all the time, instances come and go, and a fault occurs. The trial
//! records a [history], which [check] checks.
#![allow(missing_docs, reason = "of fields and variants that say it all")]

pub mod backend;
pub mod check;
pub mod cost;
mod counted;
pub mod fault;
mod freeze;
pub mod history;
pub mod member;
pub mod outcome;
mod resources;
pub mod rolling;
pub mod runs;
pub mod soak;
pub mod trial;
pub mod walking;
pub mod wire;
