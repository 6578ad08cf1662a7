//! Leaving in a way that fails no request: the goodbye first, and the end once others know of it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::Client;
use super::state::State;

/// How long a process that is asked to end waits for its clients to say goodbye.
pub(super) const GRACE: Duration = Duration::from_secs(3);

impl Client {
    /// Says goodbye, and waits until nobody sends requests here any more.
    ///
    /// Meanwhile the process serves and discovers on. A client that nobody could find has nobody to
    /// wait for, and of a goodbye that could not be said nobody knows. A backend that hangs is waited
    /// for no longer than [`GRACE`], because whoever asked the process to end soon kills it.
    pub(super) async fn depart(&self) {
        let goodbye = {
            // A timer is made inside the runtime, and may be awaited anywhere.
            let _runtime = self.inner.state.runtime.enter();
            timeout(GRACE, self.leave())
        };
        // A failure has been logged, and the process is about to end.
        if !matches!(goodbye.await, Ok(Ok(()))) {
            return;
        }
        let state = &self.inner.state;
        if let Some(quiet_at) = state.quiet_at() {
            let drained = {
                let _runtime = state.runtime.enter();
                sleep_until(quiet_at)
            };
            drained.await;
        }
    }
}

impl State {
    /// When the last requests have come, after a goodbye.
    fn quiet_at(&self) -> Option<Instant> {
        let left_at = self.lock().left_at;
        left_at.map(|at| at + self.drain())
    }

    /// How long after a goodbye requests may still come.
    ///
    /// Where changes are polled, others learn of it at their next look: that is an interval and its
    /// jitter later, and the look takes a while.
    pub(super) fn drain(&self) -> Duration {
        let drain = self.settings.drain;
        if drain.is_zero() || !self.is_polled() {
            return drain;
        }
        let interval = self.settings.refresh_interval;
        drain + interval + interval / 10
    }
}
