//! The streams of changes that a client hands out.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::state::{Progress, State};
use crate::{Change, Status};

pub(super) fn status(mut progress: watch::Receiver<Progress>) -> BoxStream<'static, Status> {
    progress.mark_changed();
    Box::pin(stream::unfold(Some(progress), async |progress| {
        let mut progress = progress?;
        progress.changed().await.ok()?;
        let Progress { status, closed } = progress.borrow_and_update().clone();
        Some((status, (!closed).then_some(progress)))
    }))
}

pub(super) fn changes(state: Arc<State>) -> BoxStream<'static, Change> {
    let (reset, receiver) = state.changes();
    let start = (Some(reset), receiver, state);
    Box::pin(stream::unfold(start, async |(next, receiver, state)| {
        if let Some(change) = next {
            return Some((change, (None, receiver, state)));
        }
        let mut receiver = receiver?;
        match receiver.recv().await {
            Ok(change) => Some((change, (None, Some(receiver), state))),
            Err(RecvError::Lagged(_)) => {
                let (reset, receiver) = state.changes();
                Some((reset, (None, receiver, state)))
            }
            Err(RecvError::Closed) => None,
        }
    }))
}
