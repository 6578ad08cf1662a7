use std::sync::Arc;

use crate::Instance;

/// A change of a client's view, local entries included.
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
}
