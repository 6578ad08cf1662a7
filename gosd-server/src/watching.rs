//! The count of watchers, and of what the names take that they ask for.

/// How many bytes the names may take for each watcher that is allowed, and for how many watchers at least. A name of
/// an ordinary length takes some 300 bytes.
const NAMES: usize = 16 * 1_024;
const FEW: usize = 64;

/// The watchers of one client, or all.
#[derive(Clone, Copy, Default)]
pub(crate) struct Watching {
    pub(crate) watchers: usize,
    /// The bytes that the names take; see [`Wanted::size`](crate::wanted::Wanted::size).
    names: usize,
}

impl Watching {
    /// Whether there may be one more, with these bytes of names, where so many watchers are allowed.
    pub(crate) fn has_room(self, names: usize, limit: usize) -> bool {
        let most = limit.max(FEW).saturating_mul(NAMES);
        self.watchers < limit && self.names + names <= most
    }

    pub(crate) fn add(&mut self, names: usize) {
        self.watchers += 1;
        self.names += names;
    }

    pub(crate) fn remove(&mut self, names: usize) {
        self.watchers -= 1;
        self.names -= names;
    }
}
