//! The status of a client: of its own registration, and of its view.

use std::mem::discriminant;
use std::time::Instant;

use crate::{Error, ErrorKind};

/// The status of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Whether others can find this client's instance.
    pub registration: Registration,
    /// How current this client's view of the instances is.
    pub view: View,
}

/// Whether others can find this client's instance.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Registration {
    /// The client registers nothing.
    DiscoverOnly,
    /// The last heartbeat succeeded.
    Registered,
    /// The registration was made; its last heartbeats failed, and are retried for ever.
    Retrying {
        /// Since when they fail.
        since: Instant,
        /// The latest failure.
        error: Error,
    },
    /// The registration has not been made yet; it is retried for ever.
    Standalone {
        /// Since when the client tries to register.
        since: Instant,
        /// The latest failure.
        error: Error,
    },
    /// The client does not want requests for now, and is not registered; see
    /// [`set_ready`](crate::Client::set_ready).
    Withdrawn,
    /// Another process has registered under this client's id after it, as a replacement does that
    /// shares a name with what it replaces. The client registers again when the other one is gone.
    ///
    /// Of two processes that have both just started the later one has the id within a second, where
    /// changes are pushed. Where they are polled, both register for a lease or longer, mostly the later one
    /// stays, and a goodbye of one takes the other out of the rotation until that one's next look or
    /// heartbeat.
    Replaced,
    /// The client has left, and registers no more.
    Left,
}

/// How current a client's view of the instances is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum View {
    /// Nothing has been read yet.
    Unknown,
    /// In contact with the backend.
    Fresh,
    /// Without contact; the last view is still served.
    Stale {
        /// Since when there has been no contact.
        since: Instant,
        /// The latest failure.
        error: Error,
    },
}

impl Status {
    /// Whether two statuses are equal, apart from later failures of the same kind.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.registration.is_like(&other.registration) && self.view.is_like(&other.view)
    }
}

impl Registration {
    /// Whether the client wants to be found by others.
    pub(crate) fn is_wanted(&self) -> bool {
        !matches!(self, Self::DiscoverOnly | Self::Withdrawn | Self::Replaced | Self::Left)
    }

    /// The status before the first attempt to register has ended.
    pub(crate) fn beginning(since: Instant) -> Self {
        let error = Error::new(ErrorKind::Unavailable, "the first attempt is under way");
        Self::Standalone { since, error }
    }

    fn error(&self) -> Option<&Error> {
        match self {
            Self::Retrying { error, .. } | Self::Standalone { error, .. } => Some(error),
            Self::DiscoverOnly
            | Self::Registered
            | Self::Withdrawn
            | Self::Replaced
            | Self::Left => None,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
            && self.error().map(Error::kind) == other.error().map(Error::kind)
    }
}

impl View {
    pub(crate) fn error(&self) -> Option<&Error> {
        match self {
            Self::Stale { error, .. } => Some(error),
            Self::Unknown | Self::Fresh => None,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
            && self.error().map(Error::kind) == other.error().map(Error::kind)
    }
}
