//! What changed in a client's view.

use std::sync::Arc;

use crate::Instance;

/// A change of a client's view, or of its rotation; local entries included.
///
/// An instance that is out of rotation is still in the view. When it leaves the view, no [`Change`] of its
/// rotation follows; when it comes into the view, one follows only if it is out of rotation then. Its
/// [`Updated`](Self::Updated) does not bring it back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Everything in the view: the first item, and again where a slow reader has missed items.
    ///
    /// Right behind it comes an [`Ejected`](Self::Ejected) or a [`Drained`](Self::Drained) for each instance in
    /// it that is out of rotation. All others are in rotation, whatever was told before.
    Reset(Vec<Arc<Instance>>),
    /// An instance came into the view.
    Added(Arc<Instance>),
    /// An instance's URL, metadata or service changed.
    Updated(Arc<Instance>),
    /// An instance left the view.
    Removed(Arc<Instance>),
    /// Failed requests of this process took an instance out of its rotation; see
    /// [`Client::report`](crate::Client::report).
    Ejected(Arc<Instance>),
    /// A record in the registry took an instance out of the rotation; see [`Instance::drain_of`].
    Drained(Arc<Instance>),
    /// An instance that had been taken out of the rotation is back in it.
    Readmitted(Arc<Instance>),
}

impl Change {
    /// The instance that has changed; `None` for a [`Reset`](Self::Reset).
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
