//! What changed in a client's view.

use std::sync::Arc;

use crate::Instance;

/// A change of a client's view, or of who is in rotation; local entries included.
///
/// An instance that is out of rotation is in the view all the same. If it leaves the view, or comes
/// into it, nothing else is told of its rotation unless it is out of it then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// All that is there now: the first item, and again where a slow reader was overtaken.
    Reset(Vec<Arc<Instance>>),
    /// An instance came into the view.
    Added(Arc<Instance>),
    /// An instance's URL or metadata changed.
    Updated(Arc<Instance>),
    /// An instance left the view.
    Removed(Arc<Instance>),
    /// The reports of this process took an instance out of its rotation; see
    /// [`Client::report`](crate::Client::report).
    Ejected(Arc<Instance>),
    /// A record in the registry took an instance out of the rotation; see [`Instance::drain_of`].
    Drained(Arc<Instance>),
    /// An instance that had been taken out of the rotation is back in it.
    Readmitted(Arc<Instance>),
}

impl Change {
    /// The instance that a change is about; none of a [`Reset`](Self::Reset).
    pub fn instance(&self) -> Option<&Arc<Instance>> {
        match self {
            Self::Reset(_) => None,
            Self::Added(it)
            | Self::Updated(it)
            | Self::Removed(it)
            | Self::Ejected(it)
            | Self::Drained(it)
            | Self::Readmitted(it) => Some(it),
        }
    }
}
