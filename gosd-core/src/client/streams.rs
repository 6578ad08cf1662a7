//! The streams of changes and of statuses.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::error::RecvError;

use super::state::{Progress, State};
use crate::{Change, Status};

pub(super) fn status(state: &State) -> BoxStream<'static, Status> {
    // Subscribed before the view is read, so that no change in between is missed.
    let progress = state.progress();
    let is_closed = progress.borrow().closed;
    let start = (Some(state.status()), (!is_closed).then_some(progress));
    let statuses = stream::unfold(start, async |(now, progress)| {
        if let Some(status) = now {
            return Some((status, (None, progress)));
        }
        let mut progress = progress?;
        progress.changed().await.ok()?;
        let Progress { status, closed } = progress.borrow_and_update().clone();
        Some((status, (None, (!closed).then_some(progress))))
    });
    // Whoever asks once more after the end, as the next round of a `select!` does, is told the same again.
    Box::pin(statuses.fuse())
}

pub(super) fn changes(state: Arc<State>) -> BoxStream<'static, Change> {
    let (whole, version, receiver) = state.changes();
    let start = (whole.into_iter(), version, receiver, state);
    let changes = stream::unfold(start, async |(mut whole, version, receiver, state)| {
        if let Some(change) = whole.next() {
            return Some((change, (whole, version, receiver, state)));
        }
        let mut receiver = receiver?;
        loop {
            match receiver.recv().await {
                // The whole view contains every change up to its version, though such a change may only be
                // yielded now.
                Ok(Some((number, _))) if number <= version => {}
                Ok(Some((number, change))) => {
                    return Some((change, (whole, number, Some(receiver), state)));
                }
                Err(RecvError::Lagged(_)) => {
                    let (again, version, receiver) = state.changes();
                    whole = again.into_iter();
                    return Some((whole.next()?, (whole, version, receiver, state)));
                }
                Ok(None) | Err(RecvError::Closed) => return None,
            }
        }
    });
    Box::pin(changes.fuse())
}
