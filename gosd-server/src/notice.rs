//! Warnings of what may happen thousands of times, repeated once a minute at most.

use std::time::Duration;

use tokio::time::Instant;

const APART: Duration = Duration::from_secs(60);

/// When a warning was last given.
#[derive(Default)]
pub(crate) struct Notice(Option<Instant>);

impl Notice {
    /// Whether to warn now; if so, the next time is a minute later.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= APART);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_warning_is_given_at_once_and_repeated_once_a_minute() {
        let mut notice = Notice::default();
        assert!(notice.is_due());
        assert!(!notice.is_due());
        tokio::time::advance(APART).await;
        assert!(notice.is_due() && !notice.is_due());
    }
}
