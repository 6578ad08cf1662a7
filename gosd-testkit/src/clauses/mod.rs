//! The tests, one public function each. A name begins with the clause, and goes on with the part of it that
//! the test checks.
//!
//! [`conformance!`](crate::conformance!) makes tests of all of them. Call one directly to work on a single
//! clause, or to use another harness. Each test works in its own namespace, bounds all of its waiting, and
//! returns a [`Violation`](crate::Violation) if the driver breaks the clause.

mod cancelling;
mod isolation;
mod leases;
mod many;
mod outages;
mod records;
mod refusals;
mod renewals;
mod services;
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
pub use services::*;
pub use values::*;
pub use watching::*;
