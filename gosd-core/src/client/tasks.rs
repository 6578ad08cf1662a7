//! Every background task has an owner and an end.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::state::State;

/// Ends what waits on the client when one of its tasks ends, as it does with its runtime.
struct Ending(Arc<State>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A task that ends with whoever waits for it.
pub(super) struct AbortOnDrop<T>(pub(super) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Spawns a background task, with which everything ends that waits on the client.
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
