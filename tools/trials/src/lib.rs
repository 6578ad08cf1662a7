//! Tries gosd under faults of its backends, and judges what happened.
//!
//! A [trial] has clients that look things up all the time, instances that come and go, and a
//! fault; it writes a [history], which [check] judges.
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
