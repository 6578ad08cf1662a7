//! How long the view has been without contact, which every pick checks, and the status that tells of it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::state::State;
use crate::{Error, ErrorKind, Registration, Status, View};

const IN_CONTACT: i64 = i64::MAX;

/// How long the view has been without contact, which every pick checks.
pub(super) struct Staleness {
    limit: Option<Duration>,
    started: Instant,
    /// Since when the view may have aged, in ms from `started`; below zero for what was before.
    since: AtomicI64,
}

impl Staleness {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, started: Instant::now(), since: AtomicI64::new(IN_CONTACT) }
    }

    /// Notes since when the view may have aged; `None` while changes are pushed.
    pub(super) fn note(&self, since: Option<Instant>) {
        // Without a limit nothing is ever too old, and no pick looks any further.
        let since = since.filter(|_| self.limit.is_some());
        let since = since.map_or(IN_CONTACT, |since| self.since_start(since));
        // Every pick reads it, so it is written only if it changes.
        if self.since.load(Ordering::Relaxed) != since {
            self.since.store(since, Ordering::Relaxed);
        }
    }

    /// The age of the view and the limit, if the view is older than the limit.
    #[inline]
    pub(super) fn excess(&self) -> Option<(Duration, Duration)> {
        match self.since.load(Ordering::Relaxed) {
            IN_CONTACT => None,
            since => self.excess_since(since),
        }
    }

    /// Apart, so that what every pick asks is small enough to be a part of it.
    #[cold]
    fn excess_since(&self, since: i64) -> Option<(Duration, Duration)> {
        let limit = self.limit?;
        let now = self.started.elapsed().as_millis() as i64;
        let stale = Duration::from_millis(now.saturating_sub(since).max(0) as u64);
        (stale > limit).then_some((stale, limit))
    }

    fn since_start(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.started) {
            Some(after) => after.as_millis() as i64,
            None => -(self.started.duration_since(at).as_millis() as i64),
        }
    }
}

impl State {
    /// How the client stands, as far as its background work is known to run.
    pub(crate) fn status(&self) -> Status {
        let core = self.lock();
        let mut status = core.status.clone();
        if let (View::Fresh, Some(since)) = (&status.view, core.registry.idle_since(Instant::now()))
        {
            let message = "the background work does not run; is the runtime driven, and does \
                           nothing block it?";
            let error = Error::new(ErrorKind::Timeout, message).at(self.driver_name(), "watch");
            status.view = View::Stale { since: since.into_std(), error };
        }
        let ttl = self.settings.lease_ttl;
        if let (Registration::Registered, Some(at)) = (&status.registration, core.renewed_at)
            && at.elapsed() > ttl
        {
            let message = "no heartbeat was answered for a whole lease; is the runtime driven, and \
                           does nothing block it?";
            let error = Error::new(ErrorKind::Timeout, message).at(self.driver_name(), "register");
            status.registration = Registration::Retrying { since: (at + ttl).into_std(), error };
        }
        status
    }
}
