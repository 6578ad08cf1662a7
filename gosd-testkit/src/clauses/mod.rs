//! The tests, one public function each, named after the clause and what of it they look at.
//!
//! [`conformance!`](crate::conformance!) makes tests of all of them. Call one directly to work on
//! a single clause, or under another harness. Each works in a namespace of its own, bounds all of
//! its waiting, and returns a [`Violation`](crate::Violation) if the driver does otherwise than
//! the clause says.

mod cancelling;
mod isolation;
mod leases;
mod many;
mod outages;
mod records;
mod refusals;
mod renewals;
mod values;
mod watching;

pub use cancelling::*;
pub use isolation::*;
pub use leases::*;
pub use many::*;
pub use outages::*;
pub use records::*;
pub use refusals::*;
pub use renewals::*;
pub use values::*;
pub use watching::*;
