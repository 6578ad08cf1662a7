use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// By how much the clocks may differ between two looks before it counts as a jump.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(1);

/// The wall clock, by which leases are judged, and whether it can be believed.
///
/// All processes share the wall clock of the host, and it may be set: forwards, and every lease
/// seems to have run out. After a jump nothing is judged until every live instance had a lease to
/// renew itself in.
pub(crate) struct Clock {
    wall: fn() -> SystemTime,
    last: Option<(SystemTime, Instant)>,
    held_until: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(wall: fn() -> SystemTime) -> Self {
        Self { wall, last: None, held_until: None }
    }

    /// The time in ms since 1970.
    pub(crate) fn now(&self) -> i64 {
        let since = (self.wall)().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// Compares the clocks; `lease` is asked only if the wall clock has jumped.
    pub(crate) fn look<E>(&mut self, lease: impl FnOnce() -> Result<Duration, E>) -> Result<(), E> {
        let now = ((self.wall)(), Instant::now());
        if let Some(last) = self.last
            && jump(last, now) > TOLERANCE
        {
            self.held_until = Some(now.1 + lease()?);
        }
        self.last = Some(now);
        Ok(())
    }

    /// Whether leases may be judged now.
    pub(crate) fn is_believed(&self) -> bool {
        self.held_until.is_none_or(|until| until <= Instant::now())
    }
}

/// How much further the wall clock went than the other, or how much less far.
fn jump(last: (SystemTime, Instant), now: (SystemTime, Instant)) -> Duration {
    let passed = now.1.duration_since(last.1);
    match now.0.duration_since(last.0) {
        Ok(wall) => wall.abs_diff(passed),
        Err(back) => back.duration() + passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_both_ways_are_measured() {
        let (wall, steady) = (SystemTime::now(), Instant::now());
        let secs = Duration::from_secs;
        let later = steady + secs(10);
        for (at, jumped) in [
            (wall + secs(10), secs(0)),
            (wall + secs(70), secs(60)),
            (wall + secs(4), secs(6)),
            (wall - secs(50), secs(60)),
        ] {
            assert_eq!(jump((wall, steady), (at, later)), jumped);
        }
    }
}
