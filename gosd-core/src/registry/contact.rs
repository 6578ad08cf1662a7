use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, View};

/// Whether the backend is being heard.
pub(super) enum Contact {
    Never { error: Option<Error> },
    Held { since: Instant },
    Lost { since: Instant, error: Error },
}

impl Default for Contact {
    fn default() -> Self {
        Self::Never { error: None }
    }
}

impl Contact {
    /// Notes that the backend was heard; returns whether it was not before.
    pub(super) fn gain(&mut self, now: Instant) -> bool {
        let gained = !matches!(self, Self::Held { .. });
        if gained {
            *self = Self::Held { since: now };
        }
        gained
    }

    pub(super) fn lose(&mut self, error: Error, now: Instant) {
        *self = match *self {
            Self::Never { .. } => Self::Never { error: Some(error) },
            Self::Held { .. } => Self::Lost { since: now, error },
            Self::Lost { since, .. } => Self::Lost { since, error },
        };
    }

    pub(super) fn held_since(&self) -> Option<Instant> {
        match self {
            Self::Held { since } => Some(*since),
            _ => None,
        }
    }

    /// Whether contact has held for the last lease, so that every live instance had its heartbeat.
    pub(super) fn is_unbroken(&self, now: Instant, lease: Duration) -> bool {
        self.held_since().is_some_and(|since| now.duration_since(since) >= lease)
    }

    pub(super) fn never_reached(&self) -> Option<Option<&Error>> {
        match self {
            Self::Never { error } => Some(error.as_ref()),
            _ => None,
        }
    }

    pub(super) fn view(&self) -> View {
        match self {
            Self::Never { .. } => View::Unknown,
            Self::Held { .. } => View::Fresh,
            Self::Lost { since, error } => {
                View::Stale { since: since.into_std(), error: error.clone() }
            }
        }
    }
}
