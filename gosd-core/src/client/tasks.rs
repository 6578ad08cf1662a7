//! Background tasks, each with an owner and an end.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::state::State;

/// When a task of the client ends, as it does with its runtime, everything that waits on the client ends,
/// too.
struct Ending(Arc<State>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A task that is aborted when its caller stops waiting.
pub(super) struct AbortOnDrop<T>(pub(super) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Spawns a background task. When it ends, everything that waits on the client ends.
pub(super) fn spawn(
    state: &Arc<State>,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    #[cfg(test)]
    let task = super::simulation::confine(state, task);
    let ending = Ending(Arc::clone(state));
    state.runtime.spawn(async move {
        let _ending = ending;
        task.await;
    })
}
