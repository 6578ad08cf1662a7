//! What keeps a driver that hangs or panics from taking the server with it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use gosd_core::{Driver, Error, ErrorKind, Result};
use tokio::time::timeout;

/// How long a call of a driver may take.
pub(crate) const CALL: Duration = Duration::from_secs(5);

/// Bounds a driver's call in time, makes an error of a panic, and names the driver in the error.
pub(crate) async fn bounded<T>(
    driver: &dyn Driver,
    operation: &str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let call = AssertUnwindSafe(call).catch_unwind();
    let result = match timeout(CALL, call).await {
        Ok(result) => result.unwrap_or_else(|_| Err(panicked())),
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("no answer within {CALL:?}"))),
    };
    result.map_err(|error| error.at(driver.name(), operation))
}

pub(crate) fn panicked() -> Error {
    Error::new(ErrorKind::Unavailable, "the driver panicked, which is a bug in it; see its output")
}
