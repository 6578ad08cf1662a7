//! The wall clock of the host, by which leases expire, and whether somebody has set it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// By how much the clocks may differ between two looks before the wall clock counts as set.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(1);

/// The wall clock, and what it showed when it was last compared with the monotonic clock.
pub(crate) struct Clock {
    wall: fn() -> SystemTime,
    last: Option<(SystemTime, Instant)>,
}

impl Clock {
    pub(crate) fn new(wall: fn() -> SystemTime) -> Self {
        Self { wall, last: None }
    }

    /// The time in ms since 1970.
    pub(crate) fn now(&self) -> i64 {
        since_1970((self.wall)())
    }

    /// What the wall clock would show, in ms since 1970, if it had not been set since it was last
    /// accepted; `None` if it was not set.
    pub(crate) fn set_from(&self) -> Option<i64> {
        let last = self.last?;
        let now = ((self.wall)(), Instant::now());
        let expected = last.0 + now.1.duration_since(last.1);
        (distance(expected, now.0) > TOLERANCE).then(|| since_1970(expected))
    }

    /// Accepts what the wall clock shows now.
    pub(crate) fn believe(&mut self) {
        self.last = Some(((self.wall)(), Instant::now()));
    }
}

fn since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
}

fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|error| error.duration())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed_until_it_is_believed() {
        static OFF: AtomicI64 = AtomicI64::new(7200);
        fn wall() -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(OFF.load(Ordering::Relaxed).unsigned_abs())
        }
        // The wall clock of this test stands still, and the tolerance allows for a busy machine.
        let mut clock = Clock::new(wall);
        assert_eq!(clock.set_from(), None, "there is nothing to compare with");
        for set_to in [10_800, 3600] {
            let before = clock.now();
            clock.believe();
            OFF.store(set_to, Ordering::Relaxed);
            for _ in 0..2 {
                let expected = clock.set_from().expect("it was set");
                assert!((before..before + 60_000).contains(&expected), "{expected}");
            }
        }
    }
}
