//! The rules of `docs/design.md` by name, so that the simulation can break each and see that a seed fails.
//!
//! Outside this crate's own tests every rule holds, and the compiler removes the checks.

/// A rule that the simulation breaks to prove that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An expiry is believed only after half a lease of good contact.
    ExpiryNeedsGoodContact,
    /// An expiry that is believed counts once the owner has had the time to register again.
    OwnersMayObject,
    /// An instance that is merely absent is kept for half a lease.
    HoldTheMissing,
    /// The time for which an instance was missing is added up over breaks.
    HoldAddsUp,
    /// A stretch that is broken off counts for a sixth of a lease less.
    BrokenStretchesLose,
    /// The time between two answers that are far apart does not count.
    FarAnswersDoNotCount,
    /// While the own heartbeats fail, contact is not good.
    OwnHeartbeatsCount,
    /// A process that stood still begins anew.
    FreezesCount,
    /// The backend may have lost what a `Reset` replaces, so contact begins again with it.
    ResetsBeginAnew,
    /// A watch that fails breaks contact.
    LossBreaks,
    /// A read that began before a `Reset` is not applied after it.
    ResetsSupersede,
    /// An event during a read counts more than the result of the read.
    EventsGoBeforeReads,
    /// A goodbye counts at once.
    GoodbyesCount,
    /// Only answers of the database advance good time, not a timer.
    OnlyAnswersCount,
    /// The answer to a read is taken to be as old as its beginning.
    LateAnswersAreOld,
    /// A heartbeat is given up while two more fit into the lease.
    HeartbeatsAreBounded,
    /// No pause between two heartbeats is longer than a sixth of a lease.
    PausesAreShort,
}

impl Rule {
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the tests ask it")]
    pub(crate) const fn holds(self) -> bool {
        true
    }
}

#[cfg(test)]
thread_local!(static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) });

#[cfg(test)]
impl Rule {
    pub(crate) fn holds(self) -> bool {
        BROKEN.get() != Some(self)
    }

    /// Breaks one rule on this thread, or none.
    pub(crate) fn set_broken(rule: Option<Self>) {
        BROKEN.set(rule);
    }
}
