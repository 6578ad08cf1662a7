//! Calls of a driver that are bounded in time and survive a panic, so that they cannot stop the server.

use std::time::Duration;

use gosd_core::follow::call;
use gosd_core::{Driver, Result};

/// The bound of a driver's call.
pub(crate) const CALL: Duration = Duration::from_secs(5);

/// Bounds a driver's call in time, turns a panic into an error, and names the driver in the error.
pub(crate) async fn bounded<T, F: Future<Output = Result<T>>>(
    driver: &dyn Driver,
    operation: &str,
    make: impl FnOnce() -> F,
) -> Result<T> {
    call(driver, operation, CALL, make).await
}
