//! The conformance kit of gosd: tests of everything that the contract asks of a
//! [`Driver`](gosd_core::Driver), for the drivers of gosd and for those of others.
//!
//! Write a [`Fixture`], which makes drivers and faults in their backend, and let [`conformance!`] make the
//! tests. This is a whole `tests/conformance.rs`, with the
//! in-memory driver in the place of yours:
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use gosd_core::{Driver, Memory, async_trait};
//! use gosd_testkit::{Fixture, NotOffered};
//!
//! /// Where a real fixture holds the process of a server, and kills it when dropped.
//! #[derive(Default)]
//! struct MyFixture {
//!     databases: Mutex<HashMap<String, Memory>>,
//! }
//!
//! impl MyFixture {
//!     async fn start() -> Self {
//!         Self::default()
//!     }
//!
//!     fn database(&self, namespace: &str) -> Memory {
//!         self.databases.lock().unwrap().entry(namespace.to_owned()).or_default().clone()
//!     }
//! }
//!
//! #[async_trait]
//! impl Fixture for MyFixture {
//!     async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
//!         Arc::new(self.database(namespace))
//!     }
//!
//!     async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
//!         self.database(namespace).wipe();
//!         Ok(())
//!     }
//! }
//!
//! gosd_testkit::conformance!(
//!     MyFixture::start().await,
//!     without: [
//!         interrupt = "there is no connection to cut",
//!         refuse_writes = "this fixture has nothing that forbids them",
//!         write_unreadable = "it holds instances, not text",
//!     ],
//! );
//! # fn main() {}
//! ```
//!
//! `cargo test` then runs some fifty tests, `clause_01_..` to `clause_16_..`. The tests that need
//! what was left out are shown as ignored, with the reason. A test that fails prints what it expected
//! and what came; DRIVERS.md explains each clause.
//!
//! Leases are real time: with a least lease of 1 s and two threads all of it takes some twenty
//! seconds. No test depends on a fast machine: tests wait long for what must come, and what
//! must not come fails a test only if the test looked in time.
//!
//! For tests of code that uses a driver there is [`Faulty`], a driver that fails as a test asks.

pub mod clauses;

mod case;
mod faulty;
mod fixture;
mod follower;
mod macros;
mod violation;

pub use faulty::{Fault, Faulty, Operation};
pub use fixture::{Fixture, NotOffered};
pub use violation::Violation;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
