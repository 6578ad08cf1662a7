//! What keeps a driver that hangs or panics from taking the client with it.

use std::panic::AssertUnwindSafe;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::state::State;
use crate::{Driver, Error, ErrorKind, Event, Result};

impl State {
    /// Runs a driver call, bounded in time, and says in its error what it was.
    pub(crate) async fn call<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let bound = self.settings.timeout;
        let result = timeout(bound, caught(call)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("no answer within {bound:?}")))
        });
        result.map_err(|error| error.at(self.driver.name(), operation))
    }
}

/// Makes an error of a panic, so that it is retried like any other failure.
pub(super) async fn caught<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
}

/// Opens the driver's watch; one that panics yields an error, and ends.
pub(super) fn watch(driver: &dyn Driver) -> Option<BoxStream<'_, Result<Event>>> {
    let items = AssertUnwindSafe(driver.watch()?).catch_unwind();
    Some(items.map(|item| item.unwrap_or_else(|_| Err(panicked()))).boxed())
}

fn panicked() -> Error {
    Error::new(ErrorKind::Unavailable, "the driver panicked, which is a bug in it; see its output")
}
