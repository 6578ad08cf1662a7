//! Coming and going: the goodbye first, and the end once others know of it, so that no request fails.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::lease::Request;
use super::state::State;
use super::{Client, signals};
use crate::{Error, Result};

/// How long a process that is asked to end waits for its clients to say goodbye.
pub(super) const GRACE: Duration = Duration::from_secs(3);

impl Client {
    /// Says goodbye to the backend and registers no more; discovery goes on.
    ///
    /// Waits for a heartbeat in flight, so that the instance does not come back. Calling it again is
    /// harmless. If the caller stops waiting, the goodbye is said all the same.
    ///
    /// # Errors
    ///
    /// The driver's error if the backend could not be told within
    /// [`timeout`](field@crate::Settings::timeout): the registration then ends with its lease.
    #[doc(alias = "Remove")]
    pub async fn leave(&self) -> Result<()> {
        self.inner.state.leave();
        self.in_line("leave").await
    }

    /// Says whether this instance wants requests: `false` says goodbye and stops the heartbeats,
    /// `true` registers it again.
    ///
    /// For a server in maintenance, or whose own health check fails. Discovery goes on meanwhile, and
    /// the status is [`Registration::Withdrawn`](crate::Registration::Withdrawn). Calling it again is
    /// harmless. If the caller stops waiting, the backend is told all the same.
    ///
    /// # Errors
    ///
    /// - [`Config`](crate::ErrorKind::Config) from a client that registers nothing;
    /// - [`Closed`](crate::ErrorKind::Closed) for `true` from one that has left or was shut down;
    /// - the driver's error. After `true` it is tried again until it succeeds; after `false` the
    ///   registration ends with its lease.
    pub async fn set_ready(&self, ready: bool) -> Result<()> {
        match ready {
            true => self.inner.state.want()?,
            false => self.inner.state.withdraw()?,
        }
        self.in_line("set_ready").await
    }

    /// Replaces the metadata of this client's own instance, and tells the backend at once.
    ///
    /// If the caller stops waiting, the backend is told all the same.
    ///
    /// # Errors
    ///
    /// - [`Config`](crate::ErrorKind::Config) for metadata out of its limits, and from a client that
    ///   registers nothing; then nothing changes;
    /// - [`Closed`](crate::ErrorKind::Closed) from a client that has left or was shut down;
    /// - the driver's error; the next heartbeat tells the backend then.
    pub async fn set_metadata(&self, metadata: BTreeMap<String, String>) -> Result<()> {
        self.inner.state.set_metadata(metadata)?;
        self.in_line("set_metadata").await
    }

    /// Waits until the backend agrees with what this client wants, or has not done so for the bound of a call.
    async fn in_line(&self, operation: &str) -> Result<()> {
        let Some(lease) = &self.inner.lease else { return Ok(()) };
        let (reply, done) = oneshot::channel();
        let answer = match lease.send(Request { reply, asked_at: Instant::now() }) {
            Ok(()) => done.await.ok(),
            Err(_) => None,
        };
        // After a shutdown the task is gone, but the state knows the result of the goodbye.
        let answer = answer.or_else(|| self.inner.state.goodbye());
        answer.unwrap_or_else(|| Err(Error::closed(operation)))
    }

    /// Leaves, and stops the background work; the last view is served on, as stale.
    ///
    /// Calling it again is harmless. If the caller stops waiting, the goodbye is said all the same,
    /// and the background work goes on until the last clone is dropped.
    ///
    /// # Errors
    ///
    /// As for [`leave`](Client::leave); the background work is stopped all the same.
    pub async fn shutdown(&self) -> Result<()> {
        let left = self.leave().await;
        self.inner.stop();
        left
    }

    /// Waits for SIGINT or SIGTERM (elsewhere Ctrl-C), says goodbye, lets requests that are still on
    /// their way be served, and then shuts the client down.
    ///
    /// Between the goodbye and the end it waits for [`drain`](field@crate::Settings::drain), in which the
    /// process serves and discovers on, because others hear of a goodbye a moment after it is said;
    /// where changes are polled it waits a refresh interval longer. So a server that stops accepting
    /// when this future ends fails no request. A goodbye that a backend does not answer is given up
    /// after 3 s; the registration then ends with its lease.
    ///
    /// From the call on, not only from the first poll, the first of those signals no longer ends the
    /// process: it is the program that ends itself, in its own time, unless a second signal takes its
    /// default course. A signal that came before the call counts. This is what a server's graceful
    /// shutdown awaits.
    ///
    /// A future that is dropped before there was a signal gives it back: it then ends the process, or
    /// has the clients leave first that [handle signals](crate::ClientBuilder::handle_signals). A signal that
    /// was ignored when the first client of the process asked for it, as `nohup` and shells have it in
    /// the background, is left ignored (on Linux).
    #[doc(alias = "WaitClosing")]
    pub fn shutdown_on_signal(&self) -> impl Future<Output = ()> + Send + use<> {
        let signal = signals::take_over();
        let client = self.clone();
        async move {
            signal.await;
            client.depart().await;
            client.inner.stop();
        }
    }

    /// How long after a goodbye requests may still come: [`drain`](field@crate::Settings::drain), and where changes
    /// are polled a refresh interval and its jitter more.
    ///
    /// For a program that has its own signals: it says goodbye with [`leave`](Self::leave), serves on for so long,
    /// and then ends. [`shutdown_on_signal`](Self::shutdown_on_signal) does the same.
    pub fn drain_time(&self) -> Duration {
        self.inner.state.drain()
    }

    /// Says goodbye, and waits until nobody sends requests here any more.
    ///
    /// Meanwhile the process serves and discovers on. A client that was never registered does not wait, and
    /// neither does one whose goodbye failed, because nobody learns of it. A backend that hangs delays this
    /// for at most [`GRACE`], because whoever asked the process to end soon kills it.
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
    /// Where changes are polled, others learn of the goodbye at their next read: an interval and its jitter
    /// later, and the read takes a while.
    pub(super) fn drain(&self) -> Duration {
        let drain = self.settings.drain;
        if drain.is_zero() || !self.has_late_hearers() {
            return drain;
        }
        let interval = self.settings.refresh_interval;
        drain + interval + interval / 10
    }
}
