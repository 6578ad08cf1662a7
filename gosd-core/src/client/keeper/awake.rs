//! Finds out whether this process, or its machine, stood still.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The clocks when the keeper last ran.
pub(super) struct Awake {
    period: Duration,
    due_at: Instant,
    monotonic: std::time::Instant,
    wall: SystemTime,
}

impl Awake {
    pub(super) fn new(lease: Duration) -> Self {
        let period = (lease / 12).min(Duration::from_secs(1));
        let (monotonic, wall) = clocks();
        Self { period, due_at: Instant::now() + period, monotonic, wall }
    }

    /// When the keeper has to run next just to note that it does.
    pub(super) fn due_at(&self) -> Instant {
        self.due_at
    }

    /// By how much the wall clock has moved against the monotonic clock since the last call.
    pub(super) fn drift(&mut self) -> Duration {
        self.due_at = Instant::now() + self.period;
        let (monotonic, wall) = clocks();
        let passed = monotonic - std::mem::replace(&mut self.monotonic, monotonic);
        match wall.duration_since(std::mem::replace(&mut self.wall, wall)) {
            Ok(by_the_wall) => by_the_wall.abs_diff(passed),
            Err(back) => back.duration() + passed,
        }
    }
}

fn clocks() -> (std::time::Instant, SystemTime) {
    #[cfg(test)]
    if let Some(clocks) = crate::client::simulation::clocks() {
        return clocks;
    }
    (std::time::Instant::now(), SystemTime::now())
}
