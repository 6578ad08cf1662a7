//! Reads of everything: those that are due, and those that a caller asked for.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::debug;

use super::Reply;
use crate::client::state::State;
use crate::pace::{Backoff, jittered, up_to};
use crate::registry::Scope;
use crate::{Driver, Error, ErrorKind, Instance, Result};

/// While the watch is up, everything is read all the same every this many refresh intervals.
const INSURANCE: u32 = 12;

/// However small `max_stale` is, it makes no reads come more often than this.
const LEAST: Duration = Duration::from_millis(100);

pub(super) struct Reader<'a> {
    state: &'a Arc<State>,
    driver: &'a dyn Driver,
    in_flight: Option<InFlight<'a>>,
    next_at: Instant,
    backoff: Backoff,
    /// Whether the watch is up, so that reads are rarely needed.
    is_pushed: bool,
    /// The last read was discarded because a `Reset` arrived while it ran.
    was_superseded: bool,
    asked: Asked,
}

/// A read, and the services that it is about.
struct InFlight<'a> {
    scope: Arc<Scope>,
    read: BoxFuture<'a, Result<Vec<Instance>>>,
}

/// The callers that wait for a read.
#[derive(Default)]
struct Asked {
    /// These wait for the read in flight, or for the next attempt if it fails.
    now: Vec<Reply>,
    /// These asked after the read in flight had begun, so they wait for the one after it.
    next: Vec<Reply>,
    attempts_left: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(state: &'a Arc<State>, driver: &'a dyn Driver, has_watch: bool) -> Self {
        let interval = state.settings.refresh_interval;
        let first = if has_watch { jittered(interval) } else { Duration::ZERO };
        Self {
            state,
            driver,
            in_flight: None,
            next_at: Instant::now() + first,
            backoff: Backoff::new(interval),
            is_pushed: false,
            was_superseded: false,
            asked: Asked::default(),
        }
    }

    /// Reads soon, and answers then.
    pub(super) fn ask(&mut self, reply: Reply) {
        self.asked.next.push(reply);
    }

    pub(super) fn is_pushed(&self) -> bool {
        self.is_pushed
    }

    /// The watch yields the changes, so reads are only an insurance, unless a caller asks for one.
    pub(super) fn watch_is_up(&mut self) {
        if !self.is_pushed {
            self.is_pushed = true;
            if self.asked.now.is_empty() {
                self.next_at = Instant::now() + self.period();
            }
        }
        self.look_at_what_is_missing();
    }

    /// Until the watch is back, reads keep the view fresh.
    pub(super) fn watch_is_down(&mut self) {
        if std::mem::take(&mut self.is_pushed) {
            self.next_by(self.period());
        }
    }

    /// Schedules a read within a second, because the view may be long out of date.
    pub(super) fn look_soon(&mut self) {
        let second = Duration::from_secs(1).min(self.state.settings.lease_ttl / 10);
        self.next_by(up_to(second));
    }

    /// When the next read is due; `None` while one is in flight.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.in_flight.is_none().then_some(self.next_at)
    }

    /// Waits for the read in flight. Cancel-safe.
    pub(super) async fn done(&mut self) -> Result<Vec<Instance>> {
        match &mut self.in_flight {
            Some(InFlight { read, .. }) => read.await,
            None => pending().await,
        }
    }

    /// Applies the result of the read in flight; an error if it failed.
    pub(super) fn finish(&mut self, read: Result<Vec<Instance>>) -> Result<()> {
        // Without a read in flight there is none to finish.
        let Some(InFlight { scope, .. }) = self.in_flight.take() else { return Ok(()) };
        match read {
            Ok(all) => {
                if self.state.finish_read(all, scope) {
                    self.backoff.reset();
                    self.was_superseded = false;
                    self.next_at = Instant::now() + self.period();
                    self.look_at_what_is_missing();
                    self.answer(&Ok(()));
                } else if std::mem::replace(&mut self.was_superseded, true) {
                    // Not at once: a watch that begins again and again would cause endless reads.
                    self.next_at = Instant::now() + self.backoff.pause();
                    self.fail_an_attempt(&overtaken().at(self.driver.name(), "list"));
                } else {
                    self.begin();
                }
                Ok(())
            }
            Err(error) => {
                debug!(%error, "read");
                self.state.abandon_read();
                self.next_at = Instant::now() + self.backoff.pause();
                if !self.is_pushed {
                    self.state.lose_contact(error.clone());
                }
                self.fail_an_attempt(&error);
                Err(error)
            }
        }
    }

    pub(super) fn begin_if_due(&mut self) {
        let is_wanted = self.asked.now.is_empty() && !self.asked.next.is_empty();
        if self.in_flight.is_none() && (is_wanted || self.next_at <= Instant::now()) {
            if self.asked.now.is_empty() {
                self.asked.now = std::mem::take(&mut self.asked.next);
                self.asked.attempts_left = self.state.settings.try_refresh_amount;
            }
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.state.begin_read();
        let (state, driver) = (self.state, self.driver);
        // What was asked for since the watch began is read, too, so that a refresh finds it.
        let scope = state.asked.scope();
        let asked = Arc::clone(&scope);
        let list = async move || match &*asked {
            Scope::Everything => driver.list().await,
            Scope::Only(services) => driver.list_services(services).await,
        };
        let read = state.call(driver, "list", list).boxed();
        self.in_flight = Some(InFlight { scope, read });
    }

    /// Counts an attempt that led to nothing, and tells those who wait after the last one.
    fn fail_an_attempt(&mut self, error: &Error) {
        self.asked.attempts_left = self.asked.attempts_left.saturating_sub(1);
        if self.asked.attempts_left == 0 || !error.is_retryable() {
            self.answer(&Err(error.clone()));
        }
    }

    fn answer(&mut self, result: &Result<()>) {
        for reply in self.asked.now.drain(..) {
            // The caller may have stopped waiting.
            let _ = reply.send(result.clone());
        }
    }

    /// Schedules a read for when the first of the missing instances have had their chance to come back, and
    /// reads before that so often that the time until then counts as contact.
    pub(super) fn look_at_what_is_missing(&mut self) {
        if let Some(rest) = self.state.rest_of_the_missing() {
            let lease = self.state.settings.lease_ttl;
            self.next_by(rest.min(lease / 4) + up_to(lease / 100));
        }
    }

    fn next_by(&mut self, pause: Duration) {
        self.next_at = self.next_at.min(Instant::now() + pause);
    }

    fn period(&self) -> Duration {
        let settings = &self.state.settings;
        jittered(match (self.is_pushed, settings.max_stale) {
            (true, _) => settings.refresh_interval * INSURANCE,
            // Only reads keep the view young enough to be served.
            (false, Some(limit)) => settings.refresh_interval.min((limit / 2).max(LEAST)),
            (false, None) => settings.refresh_interval,
        })
    }
}

/// Why a read says nothing that was answered: it may be older than what the watch yielded while it ran.
fn overtaken() -> Error {
    let message = "the watch began anew during the read, which therefore does not count";
    Error::new(ErrorKind::Unavailable, message)
}
