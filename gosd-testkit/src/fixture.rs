//! The trait that an author implements so that the kit can test a driver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gosd_core::Driver;

/// How the kit gets drivers, and makes faults in their backend.
///
/// Only [`driver`](Fixture::driver) must be written. The other methods are hooks that some clauses need. A
/// test whose hook is missing fails and says so, unless the macro was given
/// [`without`](crate::conformance!#leaving-something-out). Each test makes its own fixture and drops it at
/// the end, so stop there what the fixture started. A method may panic when the backend cannot do what the
/// method asks, since all of this is test code.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Makes a driver for a namespace. Two calls make two clients, as if in two processes.
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver>;

    /// The shortest lease that the backend grants; 1 s by default.
    ///
    /// The tests wait for leases to run out, so a longer lease makes them slower.
    fn least_lease(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Cuts off from the backend every driver that this fixture has made or will make.
    ///
    /// After this method returns, nothing gets through until [`restore`](Fixture::restore). The data stays,
    /// and leases may run on.
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn interrupt(&self) -> Result<(), NotOffered> {
        Err(NotOffered)
    }

    /// Undoes [`interrupt`](Fixture::interrupt).
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn restore(&self) -> Result<(), NotOffered> {
        Err(NotOffered)
    }

    /// Makes a driver for a namespace that [`interrupt`](Fixture::interrupt) does not cut off.
    ///
    /// With this hook the kit changes records during the interruption. Without it the kit changes them just
    /// afterwards, and no test fails for that.
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn unaffected(&self, _namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        Err(NotOffered)
    }

    /// Makes the backend lose all data of a namespace, or of all namespaces, without the drivers' knowledge.
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn wipe(&self, _namespace: &str) -> Result<(), NotOffered> {
        Err(NotOffered)
    }

    /// Makes the backend refuse every write of its clients, and answer their reads as before.
    ///
    /// Examples are a full disk, an exhausted quota, or a user who loses the right to write. The refusal
    /// holds until [`accept_writes`](Fixture::accept_writes).
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        Err(NotOffered)
    }

    /// Undoes [`refuse_writes`](Fixture::refuse_writes).
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn accept_writes(&self) -> Result<(), NotOffered> {
        Err(NotOffered)
    }

    /// Puts a record that the driver cannot read, such as damaged JSON, into a namespace.
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn write_unreadable(&self, _namespace: &str) -> Result<(), NotOffered> {
        Err(NotOffered)
    }
}

/// The error of a hook that a [`Fixture`] does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOffered;

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fixture does not offer this")
    }
}

impl std::error::Error for NotOffered {}
