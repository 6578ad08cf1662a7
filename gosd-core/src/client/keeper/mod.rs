//! The background task that keeps the view: it follows the watch, reads, and notices when it stood still.

mod awake;
mod reader;
mod watches;

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use self::awake::Awake;
use self::reader::Reader;
use self::watches::{Watched, Watches};
use super::start::Starting;
use super::state::State;
use crate::{Driver, Error, ErrorKind, Result, View};

/// The channel for the answer to a request to a background task.
pub(super) type Reply = oneshot::Sender<Result<()>>;

pub(super) async fn run(
    state: Arc<State>,
    driver: Arc<dyn Driver>,
    mut requests: mpsc::UnboundedReceiver<Reply>,
    mut starting: Starting,
) {
    let mut watches = Watches::new(&*driver, &state.asked, state.settings.lease_ttl);
    let is_polled = watches.is_polled();
    if is_polled {
        state.note_polled();
    }
    let mut reader = Reader::new(&state, &*driver, !is_polled);
    let mut awake = Awake::new(state.settings.lease_ttl);
    while !starting.has_failed() {
        let overdue_at = starting.overdue_at().filter(|_| !is_polled);
        let view_due_at = state.next_due();
        let reasons = [Some(awake.due_at()), overdue_at, reader.due_at(), view_due_at];
        let wake_at = reasons.into_iter().flatten().min();
        tokio::select! {
            // Always in this order, so that a seed of the simulation gives the same run again.
            biased;
            request = requests.recv() => match request {
                Some(request) => {
                    // A freeze has to be noticed before anything that fell due during it is done.
                    look_up(&state, &mut awake, &mut reader);
                    reader.ask(request);
                }
                None => return,
            },
            watched = watches.next() => {
                // And before the events that arrived during it are applied.
                look_up(&state, &mut awake, &mut reader);
                match watched {
                    Watched::Events { events, scope, is_in_part } => {
                        state.apply(events, scope, is_in_part);
                        if !is_in_part {
                            reader.watch_is_up();
                            starting.succeeded();
                        }
                    }
                    Watched::Asked => state.show_asked(),
                    Watched::Lost(error) => {
                        on_loss(&state, &mut reader, &error);
                        starting.failed(error);
                    }
                }
            }
            read = reader.done() => {
                look_up(&state, &mut awake, &mut reader);
                match reader.finish(read) {
                    Ok(()) => starting.succeeded(),
                    Err(error) if is_polled => starting.failed(error),
                    Err(_) => {}
                }
            }
            () = until(wake_at) => look_up(&state, &mut awake, &mut reader),
        }
        if overdue_at.is_some_and(|at| at <= Instant::now()) {
            let error = Error::new(ErrorKind::Timeout, "no snapshot came in time");
            starting.failed(error.at(driver.name(), "watch"));
        }
        if view_due_at.is_some_and(|at| at <= Instant::now()) {
            state.do_what_is_due();
            // An expiry that was not believed is missing from now on, and nothing else looks for it.
            reader.look_at_what_is_missing();
        }
        reader.begin_if_due();
    }
}

/// Notes that this process runs. If it stood still, everything has to be read again.
fn look_up(state: &State, awake: &mut Awake, reader: &mut Reader<'_>) {
    if state.wake(awake.drift()) {
        reader.look_soon();
    }
}

fn on_loss(state: &State, reader: &mut Reader<'_>, error: &Error) {
    debug!(%error, "watch");
    state.count_lost_watch();
    let is_kept_by_reads = !reader.is_pushed() && matches!(state.status().view, View::Fresh);
    if !is_kept_by_reads {
        state.lose_contact(error.clone());
    }
    reader.watch_is_down();
}

/// Waits until a time; for ever, if there is none.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
