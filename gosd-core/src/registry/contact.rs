use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, ErrorKind, View};

/// Whether the backend is being heard.
pub(super) enum Contact {
    /// A view from before, if there is one, has been without contact since then.
    Never {
        error: Option<Error>,
        seeded: Option<Instant>,
    },
    Held {
        since: Instant,
    },
    Lost {
        since: Instant,
        error: Error,
    },
}

impl Default for Contact {
    fn default() -> Self {
        Self::Never { error: None, seeded: None }
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
            Self::Never { seeded, .. } => Self::Never { error: Some(error), seeded },
            Self::Held { .. } => Self::Lost { since: now, error },
            Self::Lost { since, .. } => Self::Lost { since, error },
        };
    }

    /// Notes that there is a view from before; returns whether it is still of use.
    pub(super) fn seed(&mut self, since: Instant) -> bool {
        match self {
            Self::Never { seeded, .. } => {
                *seeded = Some(since);
                true
            }
            _ => false,
        }
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
            Self::Never { error, .. } => Some(error.as_ref()),
            _ => None,
        }
    }

    pub(super) fn view(&self) -> View {
        match self {
            Self::Never { seeded: None, .. } => View::Unknown,
            Self::Never { seeded: Some(since), error } => View::Stale {
                since: since.into_std(),
                error: error.clone().unwrap_or_else(|| {
                    Error::new(ErrorKind::Unavailable, "nothing has been read from the backend yet")
                }),
            },
            Self::Held { .. } => View::Fresh,
            Self::Lost { since, error } => {
                View::Stale { since: since.into_std(), error: error.clone() }
            }
        }
    }
}
