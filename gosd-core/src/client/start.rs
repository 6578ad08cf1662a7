//! The report of a background task to the start of its client.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{Error, Result, Settings};

/// A background task's part in the start of its client: it reports once, and goes on.
pub(super) struct Starting {
    report: Option<oneshot::Sender<Result<()>>>,
    attempts_left: u32,
    bound: Duration,
    overdue_at: Instant,
    has_failed: bool,
}

impl Starting {
    pub(super) fn new(settings: &Settings) -> (Self, oneshot::Receiver<Result<()>>) {
        let (report, outcome) = oneshot::channel();
        let starting = Self {
            report: Some(report),
            attempts_left: settings.try_refresh_amount,
            bound: settings.timeout,
            overdue_at: Instant::now() + settings.timeout,
            has_failed: false,
        };
        (starting, outcome)
    }

    pub(super) fn succeeded(&mut self) {
        self.report(Ok(()));
    }

    /// Counts a failed attempt: the last one, or an error that waiting cannot mend, ends the start.
    pub(super) fn failed(&mut self, error: Error) {
        if self.report.is_none() {
            return;
        }
        self.overdue_at = Instant::now() + self.bound;
        self.attempts_left = self.attempts_left.saturating_sub(1);
        if !error.is_outwaited() {
            self.has_failed = true;
            self.report(Err(error));
        } else if self.attempts_left == 0 {
            self.report(Ok(()));
        }
    }

    /// Whether the start has failed, so that the tasks of the client have to end.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// When the attempt under way counts as failed, for one that has no bound of its own.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.report.is_some().then_some(self.overdue_at)
    }

    fn report(&mut self, outcome: Result<()>) {
        if let Some(report) = self.report.take() {
            // This fails only if the start was given up, which aborts this task too.
            let _ = report.send(outcome);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // A task that ends before it has anything to report must not leave the start waiting.
        self.report(Err(Error::closed("start")));
    }
}
