//! Leaving when the process is asked to end. There is one of it in a process, as of signals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{Client, Inner};

/// How long a process that is asked to end waits for its clients to say goodbye.
const GRACE: Duration = Duration::from_secs(3);

static HUB: LazyLock<Hub> = LazyLock::new(|| {
    // A thread of its own: it has to work also when a runtime is busy, or gone. It lives as long as
    // the process, because a signal whose handler was once set does not get its default back.
    if let Err(error) = os::spawn_listener(on_signal) {
        warn!(%error, "signals cannot be handled: leave before the process ends");
    }
    Hub::default()
});

#[derive(Default)]
struct Hub {
    /// The clients that leave when a signal comes.
    members: Mutex<Vec<Weak<Inner>>>,
    /// Whether the program ends itself.
    is_taken_over: AtomicBool,
    has_come: watch::Sender<bool>,
}

/// Has a client leave when a signal comes.
pub(super) fn enlist(client: &Arc<Inner>) {
    let mut members = HUB.members.lock().unwrap_or_else(PoisonError::into_inner);
    members.retain(|member| member.strong_count() > 0);
    members.push(Arc::downgrade(client));
}

/// Leaves the end of the process to the program; the future waits for the first signal.
pub(super) fn take_over() -> impl Future<Output = ()> + Send + use<> {
    HUB.is_taken_over.store(true, Ordering::SeqCst);
    let mut has_come = HUB.has_come.subscribe();
    async move {
        // Cannot fail: the hub is never dropped.
        let _ = has_come.wait_for(|has_come| *has_come).await;
    }
}

fn on_signal(signal: os::Signal) {
    let is_first = !HUB.has_come.send_replace(true);
    if is_first {
        // Beside the listener, which has to hear a second signal meanwhile.
        thread::spawn(move || {
            info!(signal, "leaving");
            leave_all();
            end_unless_taken_over(signal);
        });
    } else {
        end_unless_taken_over(signal);
    }
}

fn leave_all() {
    let members = std::mem::take(&mut *HUB.members.lock().unwrap_or_else(PoisonError::into_inner));
    let (guard, all_done) = mpsc::channel::<()>();
    for inner in members.iter().filter_map(Weak::upgrade) {
        let guard = guard.clone();
        let runtime = inner.state.runtime.clone();
        runtime.spawn(async move {
            let _guard = guard;
            // Its failure has been logged, and the process is about to end.
            let _ = Client { inner }.leave().await;
        });
    }
    drop(guard);
    // Nothing is ever sent: it returns when the last guard is dropped.
    let _ = all_done.recv_timeout(GRACE);
}

fn end_unless_taken_over(signal: os::Signal) {
    if !HUB.is_taken_over.load(Ordering::SeqCst) {
        os::end(signal);
    }
}

#[cfg(unix)]
mod os {
    use std::io;
    use std::thread;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    pub(super) type Signal = i32;

    pub(super) fn spawn_listener(on_signal: fn(Signal)) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let listen = move || signals.forever().for_each(on_signal);
        thread::Builder::new().name("gosd-signals".into()).spawn(listen).map(drop)
    }

    /// Ends the process as the signal does by default.
    pub(super) fn end(signal: Signal) {
        // The kernel spares PID 1 the default course: there, the shell's convention stands in.
        if std::process::id() == 1 || emulate_default_handler(signal).is_err() {
            std::process::exit(128 + signal);
        }
    }
}

#[cfg(not(unix))]
mod os {
    use std::io;
    use std::thread;

    use tokio::runtime::Builder;
    use tokio::signal::ctrl_c;

    /// What Windows gives as the exit code of a program that Ctrl-C ended.
    const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;

    pub(super) type Signal = &'static str;

    pub(super) fn spawn_listener(on_signal: fn(Signal)) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listen = async move {
            while ctrl_c().await.is_ok() {
                on_signal("Ctrl-C");
            }
        };
        thread::Builder::new()
            .name("gosd-signals".into())
            .spawn(move || runtime.block_on(listen))
            .map(drop)
    }

    /// Ends the process as Ctrl-C does by default.
    pub(super) fn end(_: Signal) {
        std::process::exit(STATUS_CONTROL_C_EXIT.cast_signed());
    }
}
