//! The faults that a `Faulty` driver has for each operation, and the counts of its calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Fault, Operation};

/// What the clones of one `Faulty` share.
#[derive(Default)]
pub(super) struct Shared {
    scripts: Mutex<[Script; Operation::ALL.len()]>,
    /// Notified of every change of the scripts.
    changed: watch::Sender<()>,
}

/// The faults of one operation, and the counts of its calls.
#[derive(Default)]
pub(super) struct Script {
    pub(super) standing: Option<Fault>,
    pub(super) in_line: VecDeque<Fault>,
    /// How often the faults were replaced, which releases calls that hang.
    pub(super) cleared: u64,
    /// How often all open watches were ended.
    pub(super) ended: u64,
    pub(super) calls: usize,
    pub(super) under_way: usize,
    pub(super) most_at_once: usize,
}

impl Shared {
    pub(super) fn set(&self, operation: Operation, fault: Option<Fault>) {
        self.with(operation, |script| {
            script.standing = fault;
            if fault.is_none() {
                script.in_line.clear();
            }
            script.cleared += 1;
        });
        self.changed.send_replace(());
    }

    pub(super) fn push(&self, operation: Operation, fault: Fault) {
        self.with(operation, |script| script.in_line.push_back(fault));
        self.changed.send_replace(());
    }

    pub(super) fn end_watches(&self) {
        self.with(Operation::Watch, |script| script.ended += 1);
        self.changed.send_replace(());
    }

    pub(super) fn with<T>(&self, operation: Operation, f: impl FnOnce(&mut Script) -> T) -> T {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut scripts[operation as usize])
    }

    pub(super) async fn until(&self, operation: Operation, holds: impl Fn(&Script) -> bool) {
        let mut changed = self.changed();
        while !self.with(operation, |script| holds(script)) {
            // This cannot fail: `self` holds the sender.
            let _ = changed.changed().await;
        }
    }

    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Counts a call, and takes the fault that applies to it.
    pub(super) fn begin(self: &Arc<Self>, operation: Operation) -> UnderWay {
        let (fault, cleared) = self.with(operation, |script| {
            script.calls += 1;
            script.under_way += 1;
            script.most_at_once = script.most_at_once.max(script.under_way);
            // The faults of a watch apply to its items.
            let fault = match operation {
                Operation::Watch => None,
                _ => script.in_line.pop_front().or(script.standing),
            };
            (fault, script.cleared)
        });
        self.changed.send_replace(());
        UnderWay { shared: Arc::clone(self), operation, fault, cleared }
    }
}

/// A call that has begun, or a stream that is open. Dropping it lowers the count of those under way.
pub(super) struct UnderWay {
    shared: Arc<Shared>,
    operation: Operation,
    pub(super) fault: Option<Fault>,
    cleared: u64,
}

impl UnderWay {
    /// Waits until the faults of the operation have been replaced or cleared since the call began.
    pub(super) async fn cleared(&self) {
        self.shared.until(self.operation, |script| script.cleared != self.cleared).await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.with(self.operation, |script| script.under_way -= 1);
        self.shared.changed.send_replace(());
    }
}
