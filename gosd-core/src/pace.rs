//! Jitter and backoff, for every kind of waiting.

use std::time::Duration;

use crate::rules::Rule;

/// The first pause after a failure; each further one is twice as long, up to the cap.
const FIRST: Duration = Duration::from_millis(200);
const CAP: Duration = Duration::from_secs(5);

/// The pauses between attempts.
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// Starts with the shortest pause; no pause is longer than `cap` or 5 s, whichever is shorter.
    pub(crate) fn new(cap: Duration) -> Self {
        Self::between(FIRST, cap.min(CAP))
    }

    /// Starts with the shortest pause; all pauses leave room for several attempts within a lease.
    ///
    /// The registry cache depends on the longest of them; see `docs/design.md`.
    pub(crate) fn of_lease(lease: Duration) -> Self {
        let longest = if Rule::PausesAreShort.holds() { lease / 6 } else { lease * 2 };
        Self::between(FIRST.min(lease / 30), CAP.min(longest))
    }

    /// Starts with the first pause, and doubles it up to the cap.
    pub(crate) fn between(first: Duration, cap: Duration) -> Self {
        let first = first.min(cap);
        Self { first, next: first, cap }
    }

    /// The next pause: its upper half is random, so that clients do not come back in step.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.cap);
        pause.mul_f64(0.5 + 0.5 * fastrand::f64())
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The period, randomly longer or shorter by up to a tenth.
pub(crate) fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// A random time up to the bound.
pub(crate) fn up_to(bound: Duration) -> Duration {
    bound.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for bound in [200, 400, 800, 1_000, 1_000] {
            let bound = Duration::from_millis(bound);
            let pause = backoff.pause();
            assert!(bound / 2 <= pause && pause <= bound, "{pause:?} for {bound:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
