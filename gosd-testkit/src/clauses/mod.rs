//! One public function, and one test of [`conformance!`](crate::conformance!), for each thing that
//! a clause of the contract says.
//!
//! Each takes a fixture, works in a namespace of its own, and bounds all of its waiting. The test
//! runs them for you; call one directly to work on a single clause or under a harness of your own.

mod cancelling;
mod isolation;
mod leases;
mod many;
mod outages;
mod records;
mod values;
mod watching;

pub use cancelling::*;
pub use isolation::*;
pub use leases::*;
pub use many::*;
pub use outages::*;
pub use records::*;
pub use values::*;
pub use watching::*;
