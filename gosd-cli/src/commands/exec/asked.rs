//! How `gosd watch --exec` ends when a signal asks it to, and how it ends a command.

use std::pin::pin;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::sleep;

use super::Progress;
use crate::cli::WatchArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::{Signals, end};

/// How long a command that is out of time has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Works until a signal asks for the end. A run of the command that is under way gets to its own end first,
/// unless a second signal comes: with the first process of a container ends every other one, and elsewhere the
/// command of a successor could run at the same time.
pub(super) async fn until_asked(
    context: &Context,
    args: &WatchArgs,
    progress: &Progress,
    work: impl Future<Output = Outcome>,
) -> Outcome {
    let handled: &[Signal] = match args.timeout {
        None => &[Signal::INT, Signal::TERM],
        // All that a terminal sends, because it does not reach a command in a process group of its own.
        Some(_) => &[Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT],
    };
    let mut signals = Signals::of(handled)?;
    let mut work = pin!(work);
    let mut signal = tokio::select! {
        outcome = &mut work => return outcome,
        signal = signals.next() => signal,
    };
    if progress.runs.get() {
        progress.is_last.set(true);
        context.note("asked to end: waiting for the command; a second signal does not wait");
        if signal != Signal::TERM {
            progress.pass_on(signal);
        }
        tokio::select! {
            _ = &mut work => {}
            second = signals.next() => {
                signal = second;
                progress.pass_on(signal);
            }
        }
    }
    Ok(end(signal))
}

impl Progress {
    /// Sets the process group of the command by the process that leads it.
    pub(super) fn set_group(&self, leader: Option<u32>) {
        self.group.set(leader.and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    }

    /// Ends all processes of the group.
    ///
    /// The shell may end at once and others later, so all of them have the whole time. The caller waits for the
    /// shell only after this: until then no other process can get its id, which is also the group's.
    pub(super) async fn end_group(&self) {
        self.pass_on(Signal::TERM);
        sleep(GRACE).await;
        self.pass_on(Signal::KILL);
    }

    /// Signals the command if it has a process group of its own.
    fn pass_on(&self, signal: Signal) {
        if let Some(group) = self.group.get() {
            // This fails if all its processes have ended.
            let _ = kill_process_group(group, signal);
        }
    }
}
