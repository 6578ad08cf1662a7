use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::View;

const IN_CONTACT: i64 = i64::MAX;

/// For how long the view has been without contact, to be asked by every pick.
pub(super) struct Staleness {
    limit: Option<Duration>,
    started: Instant,
    /// When contact was lost, in ms from `started`; below zero for what was before.
    lost_at: AtomicI64,
}

impl Staleness {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, started: Instant::now(), lost_at: AtomicI64::new(IN_CONTACT) }
    }

    pub(super) fn note(&self, view: &View) {
        let lost_at = match view {
            View::Stale { since, .. } => self.since_start(*since),
            View::Unknown | View::Fresh => IN_CONTACT,
        };
        if self.lost_at.load(Ordering::Relaxed) != lost_at {
            self.lost_at.store(lost_at, Ordering::Relaxed);
        }
    }

    /// How stale the view is and may be, if it is more than that.
    pub(super) fn excess(&self) -> Option<(Duration, Duration)> {
        let limit = self.limit?;
        let lost_at = self.lost_at.load(Ordering::Relaxed);
        if lost_at == IN_CONTACT {
            return None;
        }
        let now = self.started.elapsed().as_millis() as i64;
        let stale = Duration::from_millis(now.saturating_sub(lost_at).max(0) as u64);
        (stale > limit).then_some((stale, limit))
    }

    fn since_start(&self, at: std::time::Instant) -> i64 {
        let started = self.started.into_std();
        match at.checked_duration_since(started) {
            Some(after) => after.as_millis() as i64,
            None => -(started.duration_since(at).as_millis() as i64),
        }
    }
}
