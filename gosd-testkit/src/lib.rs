//! The conformance kit of gosd.

pub mod clauses;

mod case;
mod fixture;
mod follower;
mod macros;
mod violation;

pub use fixture::{Fixture, NotOffered};
pub use violation::Violation;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
