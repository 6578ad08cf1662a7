//! How `gosd watch --exec` ends when a signal asks it to.

use std::pin::pin;

use rustix::process::Signal;

use super::Progress;
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::{Signals, end};

/// Works until a signal asks for the end. A run of the command that is under way gets to its own end first,
/// unless a second signal comes: with the first process of a container ends every other one, and elsewhere the
/// command of a successor could run at the same time.
pub(super) async fn until_asked(
    context: &Context,
    progress: &Progress,
    work: impl Future<Output = Outcome>,
) -> Outcome {
    let mut signals = Signals::of(&[Signal::INT, Signal::TERM])?;
    let mut work = pin!(work);
    let mut signal = tokio::select! {
        outcome = &mut work => return outcome,
        signal = signals.next() => signal,
    };
    if progress.runs.get() {
        progress.is_last.set(true);
        context.note("asked to end: waiting for the command; a second signal does not wait");
        tokio::select! {
            _ = &mut work => {}
            second = signals.next() => signal = second,
        }
    }
    Ok(end(signal))
}
