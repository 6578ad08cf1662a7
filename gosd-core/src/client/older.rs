//! The older view of the snapshot file, for a client that starts while the backend, or a part of it, is down.

use super::snapshot::{self, Snapshot};
use super::state::State;
use crate::View;

impl State {
    /// Serves the view that the file kept, unless the backend has been reached.
    ///
    /// Of two databases one may be heard. The file then stands in for the other.
    pub(super) async fn serve_older_view(&self) {
        let Some(path) = &self.settings.snapshot_path else { return };
        let is_needed = self.lock().registry.never_reached().is_some();
        let older = if is_needed { snapshot::load(self, path).await } else { None };
        let limit = self.settings.max_stale;
        self.step_if_open(|registry, now| {
            // Lookups in a view that is too old fail, and so would those of what is heard of a part.
            let is_unknown = matches!(registry.view(), View::Unknown);
            let is_of_use = |it: &Snapshot| is_unknown || limit.is_none_or(|limit| it.age <= limit);
            let Some(Snapshot { instances, age }) = older.filter(is_of_use) else {
                return ((), registry.seed_nothing());
            };
            // A monotonic clock may begin after that moment; then its beginning is used.
            let mut ages = std::iter::successors(Some(age), |age| Some(*age / 2));
            let since = ages.find_map(|age| now.checked_sub(age)).unwrap_or(now);
            ((), registry.seed(instances, &self.asked.scope(), since))
        });
    }
}
