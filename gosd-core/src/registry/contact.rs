//! The contact with the backend: whether it holds, since when, and how good it was.
//!
//! `docs/design.md` explains these rules.

use std::time::Duration;

use tokio::time::Instant;

use crate::rules::Rule;
use crate::{Error, ErrorKind, View};

/// By clause 9 a watch notices a dead connection within this time.
const SILENCE: Duration = Duration::from_secs(10);

/// The contact with the backend, and what may be concluded from it.
pub(super) struct Contact {
    lease: Duration,
    state: State,
    /// When the backend last answered or yielded an item.
    heard_at: Option<Instant>,
    /// Whether changes are pushed at present.
    is_pushed: bool,
    /// Whether the own heartbeats are answered. A client that only discovers has none that fail.
    writes_taken: bool,
    /// The beginning of the present stretch of good contact.
    good_since: Option<Instant>,
    /// The last answer of the present run of answers, none of which is far from the one before.
    proven_at: Option<Instant>,
    /// How long the present run lasts.
    run: Duration,
    /// The time that earlier runs count for.
    banked: Duration,
    /// When this process was last known to run.
    awake_at: Option<Instant>,
}

/// Whether there is contact with the backend.
enum State {
    /// There has never been contact. If a view was taken over, it has been without contact since then.
    Never {
        error: Option<Error>,
        seeded: Option<Instant>,
    },
    Held,
    Lost {
        since: Instant,
        error: Error,
    },
}

/// The kind of evidence that the backend is in contact.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// An item of the watch.
    Item,
    /// The answer to a read.
    Read,
}

/// A point in the time of good contact, which only answers advance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GoodTime(Duration);

impl Contact {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            state: State::Never { error: None, seeded: None },
            heard_at: None,
            is_pushed: false,
            writes_taken: true,
            good_since: None,
            proven_at: None,
            run: Duration::ZERO,
            banked: Duration::ZERO,
            awake_at: None,
        }
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Records evidence of contact with the backend.
    pub(super) fn hear(&mut self, proof: Proof, now: Instant) {
        self.state = State::Held;
        self.heard_at = Some(now);
        self.is_pushed |= proof == Proof::Item;
        if !self.writes_taken {
            return;
        }
        self.good_since.get_or_insert(now);
        match self.proven_at {
            Some(before) if self.is_near(before, now) => {
                self.run += now.duration_since(before);
            }
            // What happened between two answers that are far apart is unknown.
            _ => self.bank(),
        }
        self.proven_at = Some(now);
    }

    /// Records contact with a part of the backend, while there is none with another part. An older view, if
    /// there is one, is served beside that part, and says since when.
    pub(super) fn hear_in_part(&mut self, now: Instant) {
        if let State::Never { seeded, .. } = &mut self.state {
            seeded.get_or_insert(now);
        }
        self.interrupt();
    }

    /// Records the loss of contact.
    pub(super) fn lose(&mut self, error: Error, now: Instant) {
        self.state = match self.state {
            State::Never { seeded, .. } => State::Never { error: Some(error), seeded },
            State::Held => State::Lost { since: self.last_contact(now), error },
            State::Lost { since, .. } => State::Lost { since, error },
        };
        self.is_pushed = false;
        if Rule::LossBreaks.holds() {
            self.interrupt();
        }
    }

    /// Ends the present stretch of good contact; the next answer begins another.
    pub(super) fn interrupt(&mut self) {
        self.good_since = None;
        self.bank();
        self.proven_at = None;
    }

    /// Records that the view has been replaced, because the backend may have lost data.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        if Rule::ResetsBeginAnew.holds() {
            self.good_since = self.writes_taken.then_some(now);
        }
    }

    /// Records whether the own heartbeats are answered.
    pub(super) fn note_writes(&mut self, taken: bool, now: Instant) {
        if self.writes_taken != taken && Rule::OwnHeartbeatsCount.holds() {
            self.writes_taken = taken;
            self.interrupt();
            if taken && self.is_pushed {
                self.good_since = Some(now);
            }
        }
    }

    /// Notes that this process runs, and by how much its wall clock has moved against its monotonic clock
    /// since the last time. Returns whether it stood still for so long that it has to read what it missed.
    ///
    /// The monotonic clock stops while a machine is suspended, and only the wall clock shows that. If the
    /// wall clock was set for another reason, the break does no harm.
    pub(super) fn wake(&mut self, now: Instant, drift: Duration) -> bool {
        let idle = self.awake_at.map_or(Duration::ZERO, |then| now.duration_since(then));
        self.awake_at = Some(now);
        let stood_still = idle.max(drift) > self.pause() && Rule::FreezesCount.holds();
        if stood_still {
            self.interrupt();
        }
        stood_still
    }

    /// Since when this process has not run, although it should have.
    pub(super) fn idle_since(&self, now: Instant) -> Option<Instant> {
        self.awake_at.filter(|then| now.duration_since(*then) > self.hold())
    }

    pub(super) fn takes_writes(&self) -> bool {
        self.writes_taken
    }

    /// Whether every living instance has renewed its lease in the present stretch, so that whatever expires
    /// now is dead.
    pub(super) fn believes_expiry(&self, now: Instant) -> bool {
        let is_good = |since| now.duration_since(since) >= self.hold();
        self.good_since.is_some_and(is_good) || !Rule::ExpiryNeedsGoodContact.holds()
    }

    /// The present point in the time of good contact.
    pub(super) fn good_time(&self) -> GoodTime {
        GoodTime(self.banked + self.run)
    }

    /// The point from which an instance counts as missing whose lease is gone now: the beginning of the present
    /// stretch of good contact, for a live instance is back half a lease after that. But its owner has at least
    /// this time left.
    pub(super) fn missing_since(&self, least: Duration) -> GoodTime {
        let stretch = match (self.good_since, self.proven_at) {
            (Some(since), Some(now)) => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        let used_up = stretch.min(self.hold() - least);
        GoodTime(self.banked + self.run.saturating_sub(used_up))
    }

    /// The point that it has reached now, if the next answer shows that contact holds.
    pub(super) fn good_time_by(&self, now: Instant) -> GoodTime {
        GoodTime(match self.proven_at.filter(|before| self.is_near(*before, now)) {
            Some(before) => self.banked + self.run + now.duration_since(before),
            None => self.banked + self.broken_off(self.run),
        })
    }

    /// How much more good time after the second point a live instance has to come back, which was
    /// missed first at the first.
    pub(super) fn rest(&self, since: GoodTime, now: GoodTime) -> Duration {
        match Rule::HoldTheMissing.holds() {
            true => self.hold().saturating_sub(now.0.saturating_sub(since.0)),
            false => Duration::ZERO,
        }
    }

    /// Notes that there is a view from before; returns whether it is still of use.
    pub(super) fn seed(&mut self, since: Instant) -> bool {
        match &mut self.state {
            State::Never { seeded, .. } => {
                *seeded = Some(since);
                true
            }
            _ => false,
        }
    }

    pub(super) fn never_reached(&self) -> Option<Option<&Error>> {
        match &self.state {
            State::Never { error, .. } => Some(error.as_ref()),
            _ => None,
        }
    }

    /// Since when the view may have aged; `None` while changes are pushed, or nothing is known.
    pub(super) fn aging_since(&self) -> Option<Instant> {
        match self.state {
            State::Never { seeded, .. } => seeded,
            State::Held if self.is_pushed => None,
            State::Held => self.heard_at,
            State::Lost { since, .. } => Some(since),
        }
    }

    pub(super) fn view(&self) -> View {
        match &self.state {
            State::Never { seeded: None, .. } => View::Unknown,
            State::Never { seeded: Some(since), error } => View::Stale {
                since: since.into_std(),
                error: error.clone().unwrap_or_else(|| {
                    Error::new(ErrorKind::Unavailable, "nothing has been read from the backend yet")
                }),
            },
            State::Held => View::Fresh,
            State::Lost { since, error } => {
                View::Stale { since: since.into_std(), error: error.clone() }
            }
        }
    }

    /// When there was last contact with the backend, if its loss is noticed now.
    fn last_contact(&self, now: Instant) -> Instant {
        let heard_at = self.heard_at.unwrap_or(now);
        match now.checked_sub(SILENCE) {
            Some(alive) if self.is_pushed => heard_at.max(alive),
            None if self.is_pushed => now,
            _ => heard_at,
        }
    }

    fn bank(&mut self) {
        if Rule::HoldAddsUp.holds() {
            self.banked += self.broken_off(self.run);
        }
        self.run = Duration::ZERO;
    }

    /// The time that a broken run counts for: a live instance that was refused may have paused for the rest.
    fn broken_off(&self, run: Duration) -> Duration {
        match Rule::BrokenStretchesLose.holds() {
            true => run.saturating_sub(self.pause()),
            false => run,
        }
    }

    fn is_near(&self, before: Instant, now: Instant) -> bool {
        now.duration_since(before) <= self.hold() || !Rule::FarAnswersDoNotCount.holds()
    }

    /// The time in which every live instance renews its lease or registers again.
    fn hold(&self) -> Duration {
        self.lease / 2
    }

    /// The longest pause of a live instance between two attempts.
    fn pause(&self) -> Duration {
        self.lease / 6
    }
}
