//! Says goodbye for every client of the process when a signal asks the process to end.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::departure::GRACE;
use super::{Client, Inner};

#[cfg_attr(not(unix), path = "signals/other.rs")]
#[cfg_attr(unix, path = "signals/unix.rs")]
mod os;

static HUB: LazyLock<Hub> = LazyLock::new(|| {
    if let Err(error) = listen() {
        warn!(%error, "signals cannot be handled: leave before the process ends");
    }
    Hub::default()
});

#[derive(Default)]
struct Hub {
    /// The clients that leave when a signal comes.
    members: Mutex<Vec<Weak<Inner>>>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Progress {
    /// How many callers wait for the signal in order to end the process themselves.
    claims: usize,
    has_come: bool,
}

/// While one of these exists, a signal does not end the process: the program does so itself.
struct Claim;

/// Has a client leave when a signal comes.
pub(super) fn enlist(client: &Arc<Inner>) {
    let mut members = HUB.members.lock().unwrap_or_else(PoisonError::into_inner);
    members.retain(|member| member.strong_count() > 0);
    members.push(Arc::downgrade(client));
}

/// Leaves the end of the process to the program; the future waits for the first signal.
///
/// A future that is dropped before there was one gives the end of the process back.
pub(super) fn take_over() -> impl Future<Output = ()> + Send + use<> {
    HUB.progress.send_modify(|progress| progress.claims += 1);
    let claim = Claim;
    let mut progress = HUB.progress.subscribe();
    async move {
        let _claim = claim;
        // This cannot fail: the hub is never dropped.
        let _ = progress.wait_for(|progress| progress.has_come).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        HUB.progress.send_modify(|progress| {
            // After a signal, whoever waited for it ends the process.
            if !progress.has_come {
                progress.claims -= 1;
            }
        });
    }
}

/// Makes the threads, and only then handles the signals.
///
/// The threads are not the runtime's, which may be busy or gone, and are made now, because there may
/// be none to be had when a signal comes. They live as long as the process: a signal whose handler was
/// once set does not get its default back.
fn listen() -> io::Result<()> {
    let (first, signals) = mpsc::channel();
    let leave = move || {
        if let Ok((signal, came)) = signals.recv() {
            // The process ends whatever a subscriber of the log does.
            let _ = catch_unwind(AssertUnwindSafe(|| leave_all(signal, came)));
            end_unless_taken_over(signal);
        }
    };
    thread::Builder::new().name("gosd-leaving".into()).spawn(leave)?;
    os::listen(move |signal| {
        let mut is_first = false;
        HUB.progress.send_modify(|progress| {
            is_first = !progress.has_come;
            progress.has_come = true;
        });
        // On another thread, because saying goodbye takes a while, and a second signal has to be
        // received meanwhile.
        if !is_first || first.send((signal, Instant::now())).is_err() {
            os::end(signal);
        }
    })
}

fn leave_all(signal: os::Signal, came: Instant) {
    info!(signal, "leaving");
    let members = std::mem::take(&mut *HUB.members.lock().unwrap_or_else(PoisonError::into_inner));
    // Nothing is ever sent on these channels. Their end shows that the last of the guards was dropped.
    let (leaving, all_left) = mpsc::channel::<()>();
    let (draining, all_drained) = mpsc::channel::<()>();
    let mut drain = Duration::ZERO;
    let has_one_left = Arc::new(AtomicBool::new(false));
    for inner in members.iter().filter_map(Weak::upgrade) {
        let (leaving, draining) = (leaving.clone(), draining.clone());
        drain = drain.max(inner.state.drain());
        let runtime = inner.state.runtime.clone();
        let has_left = Arc::clone(&has_one_left);
        runtime.spawn(async move {
            let _draining = draining;
            let client = Client { inner };
            // Its failure has been logged, and the process is about to end.
            let left = timeout(GRACE, client.leave()).await;
            let is_told = matches!(left, Ok(Ok(())));
            has_left.fetch_or(is_told, Ordering::Relaxed);
            drop(leaving);
            if is_told {
                client.depart().await;
            }
        });
    }
    drop((leaving, draining));
    let _ = all_left.recv_timeout(GRACE.saturating_sub(came.elapsed()));
    // Those that have said goodbye still get requests, though the backend of another one hangs.
    if has_one_left.load(Ordering::Relaxed) {
        let _ = all_drained.recv_timeout(drain);
    }
    if !is_taken_over() && os::has_another_handler(signal) {
        // A handler of the program may be ending the process: it gets the rest of the grace period.
        info!("a handler of the program's own has the rest of {GRACE:?} to end the process");
        let (_never, rest) = mpsc::channel::<()>();
        let _ = rest.recv_timeout(GRACE.saturating_sub(came.elapsed()));
    }
}

fn end_unless_taken_over(signal: os::Signal) {
    if !is_taken_over() {
        os::end(signal);
    }
}

fn is_taken_over() -> bool {
    HUB.progress.borrow().claims > 0
}
