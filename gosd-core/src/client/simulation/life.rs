//! What the oracle knows of one process.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Number;

/// How many troubles there are now, or since when there are none.
#[derive(Clone, Copy)]
pub(super) struct Trouble {
    pub(super) depth: u32,
    pub(super) quiet_since: Instant,
}

pub(super) struct Life {
    pub(super) is_pushed: bool,
    pub(super) refresh: Duration,
    /// Whether the process was killed or has left.
    pub(super) is_over: bool,
    pub(super) trouble: Trouble,
    /// How many heartbeats in a row were lost.
    pub(super) losses: u32,
    /// When the process was perhaps not registered, through its own fault.
    pub(super) excuses: Vec<Period>,
    /// When its record was absent because somebody deleted it.
    pub(super) deletions: Vec<Period>,
    /// When its record was absent because the database took its lease by mistake.
    pub(super) takings: Vec<Period>,
    pub(super) freezes: Vec<Period>,
    /// When its record was absent from the database through the process's own fault.
    pub(super) absences: Vec<Period>,
    pub(super) renewals: Vec<Instant>,
    /// When the process asked for the whole list.
    pub(super) questions: Vec<Instant>,
    /// Answers that were late: the time of arrival, and how long the answer took.
    pub(super) late: Vec<(Instant, Duration)>,
    pub(super) seen: BTreeSet<Number>,
    /// What this process has received lately: when the database said it, and when it came.
    pub(super) heard: Vec<(Instant, Instant)>,
    /// The times at which the database said anything that this process ever received.
    pub(super) ever_heard: Vec<Instant>,
}

#[derive(Clone, Copy)]
pub(super) struct Period {
    pub(super) from: Instant,
    pub(super) until: Option<Instant>,
}

impl Period {
    pub(super) fn has(self, at: Instant) -> bool {
        self.meets(at, at)
    }

    /// Whether the period and the time between these two instants overlap.
    pub(super) fn meets(self, from: Instant, to: Instant) -> bool {
        self.from <= to && self.until.is_none_or(|until| from <= until)
    }
}

impl Life {
    pub(super) fn new(is_pushed: bool, refresh: Duration, now: Instant) -> Self {
        Self {
            is_pushed,
            refresh,
            is_over: false,
            trouble: Trouble { depth: 0, quiet_since: now },
            losses: 0,
            excuses: Vec::new(),
            deletions: Vec::new(),
            takings: Vec::new(),
            freezes: Vec::new(),
            absences: Vec::new(),
            renewals: Vec::new(),
            questions: Vec::new(),
            late: Vec::new(),
            seen: BTreeSet::new(),
            heard: Vec::new(),
            ever_heard: Vec::new(),
        }
    }

    /// Whether the process was without a lease at that time, and took longer than this to register again.
    pub(super) fn was_slow_to_object(&self, at: Instant, time: Duration, now: Instant) -> bool {
        let is_slow = |it: &Period| it.until.unwrap_or(now) >= it.from + time;
        self.takings.iter().any(|taking| taking.has(at) && is_slow(taking))
    }

    /// Whether the process stood still at that time, long enough to notice it.
    pub(super) fn slept_at(&self, at: Instant, least: Duration) -> bool {
        self.freezes.iter().any(|freeze| {
            freeze.has(at) && freeze.until.is_some_and(|until| until - freeze.from > least)
        })
    }
}
