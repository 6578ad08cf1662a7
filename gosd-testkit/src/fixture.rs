//! What an author writes so that the kit can test a driver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gosd_core::Driver;

/// What the kit needs of a backend in order to test its driver.
///
/// Only [`driver`](Fixture::driver) must be written. The other methods are hooks that some clauses
/// need; a test whose hook is missing fails and says so, unless the macro was told
/// [`without`](crate::conformance!#leaving-something-out). Each test makes a fixture of its own
/// and drops it at its end: stop there what was started. A method may panic when the backend
/// cannot do what it should, since all of this is test code.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Makes a driver for a namespace; two calls are two clients, as if in two processes.
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver>;

    /// The least lease that the backend grants; 1 s unless told otherwise.
    ///
    /// The tests wait for leases to run out, so a longer one makes them slower.
    fn least_lease(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Cuts off every driver that this fixture handed out, or will, from the backend.
    ///
    /// From its return on nothing gets through, until [`restore`](Fixture::restore). The data
    /// stays; leases may run on.
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
    /// With it the kit changes records during the interruption. Without it, which is no reason for
    /// a test to fail, it changes them just afterwards.
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn unaffected(&self, _namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        Err(NotOffered)
    }

    /// Makes the backend lose all data of a namespace, or of all, behind the drivers' backs.
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn wipe(&self, _namespace: &str) -> Result<(), NotOffered> {
        Err(NotOffered)
    }

    /// Makes the backend refuse every write of its clients, and answer their reads as before.
    ///
    /// Such as a full disk, a quota that is used up, or a user who loses the right to write. It
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

    /// Puts a record into a namespace that the driver cannot read, such as one of damaged JSON.
    ///
    /// # Errors
    ///
    /// [`NotOffered`], the default.
    async fn write_unreadable(&self, _namespace: &str) -> Result<(), NotOffered> {
        Err(NotOffered)
    }
}

/// What a hook returns that a [`Fixture`] does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOffered;

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fixture does not offer this")
    }
}

impl std::error::Error for NotOffered {}
