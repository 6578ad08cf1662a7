//! The budget of repeated requests to a service: a fifth of its requests, so that repetitions do not make an
//! outage worse.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One request in this many may be repeated.
const SHARE: u64 = 5;

/// And this many in any case, because a caller with few requests could otherwise never repeat one.
const RESERVE: u64 = 10;

/// Requests older than two of these no longer count.
const WINDOW: Duration = Duration::from_secs(10);

/// The recent requests to a service, and how many of them were repeated.
#[derive(Default)]
pub(crate) struct Budget(Mutex<Windows>);

#[derive(Default)]
struct Windows {
    /// When the current window began; `None` before the first request.
    since: Option<Instant>,
    current: Window,
    previous: Window,
}

#[derive(Default)]
struct Window {
    requests: u64,
    repeated: u64,
}

impl Budget {
    /// Counts a request, however often it will be sent.
    pub(crate) fn count(&self, now: Instant) {
        self.with(now, |windows| windows.current.requests += 1);
    }

    /// Whether one more request may be repeated; if so, it counts as repeated.
    pub(crate) fn take(&self, now: Instant) -> bool {
        self.with(now, |windows| {
            let requests = windows.current.requests + windows.previous.requests;
            let repeated = windows.current.repeated + windows.previous.repeated;
            let is_left = repeated < RESERVE + requests / SHARE;
            windows.current.repeated += u64::from(is_left);
            is_left
        })
    }

    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut Windows) -> T) -> T {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.move_on(now);
        act(&mut windows)
    }
}

impl Windows {
    fn move_on(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age < WINDOW {
            return;
        }
        let last = std::mem::take(&mut self.current);
        self.previous = if age < 2 * WINDOW { last } else { Window::default() };
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &Budget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn a_fifth_of_the_requests_and_a_few_more_are_repeated() {
        let (budget, now) = (Budget::default(), Instant::now());
        assert_eq!(taken(&budget, now), 10);
        (0..100).for_each(|_| budget.count(now));
        assert_eq!(taken(&budget, now), 20);
        (0..4).for_each(|_| budget.count(now));
        assert_eq!(taken(&budget, now), 0);
    }

    #[test]
    fn old_requests_and_old_repetitions_do_not_count() {
        let (budget, start) = (Budget::default(), Instant::now());
        (0..1_000).for_each(|_| budget.count(start));
        assert_eq!(taken(&budget, start), 210);
        // In the next window the requests of the last one still count, and so do its repetitions.
        assert_eq!(taken(&budget, start + WINDOW), 0);
        assert_eq!(taken(&budget, start + 2 * WINDOW), 10);
        assert_eq!(taken(&budget, start + 5 * WINDOW), 10);
    }
}
