//! What keeps a driver that hangs or panics from taking the server with it.

use std::time::Duration;

use gosd_core::follow::call;
use gosd_core::{Driver, Result};

/// How long a call of a driver may take.
pub(crate) const CALL: Duration = Duration::from_secs(5);

/// Bounds a driver's call in time, makes an error of a panic, and names the driver in the error.
pub(crate) async fn bounded<T, F: Future<Output = Result<T>>>(
    driver: &dyn Driver,
    operation: &str,
    make: impl FnOnce() -> F,
) -> Result<T> {
    call(driver, operation, CALL, make).await
}
