//! SIGINT and SIGTERM.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::{fs, io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, unregister};
use signal_hook::{SigId, flag};

pub(super) type Signal = i32;

/// The signals that somebody handled before gosd did, as bits.
static HANDLED_BEFORE: AtomicU64 = AtomicU64::new(0);
/// The number of the last handler, once gosd's own were set.
static LAST_OF_OURS: OnceLock<u128> = OnceLock::new();

pub(super) fn listen(on_signal: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    // A service that was started in the background, or by nohup, goes on ignoring these signals.
    let ignored = mask("SigIgn:");
    let handled: Vec<Signal> =
        [SIGINT, SIGTERM].into_iter().filter(|signal| ignored & bit(*signal) == 0).collect();
    let Some(&one) = handled.first() else { return Ok(()) };
    let (hand_over, signals) = mpsc::channel::<Signals>();
    thread::Builder::new().name("gosd-signals".into()).spawn(move || {
        if let Ok(mut signals) = signals.recv() {
            signals.forever().for_each(on_signal);
        }
    })?;
    HANDLED_BEFORE.store(mask("SigCgt:"), Ordering::SeqCst);
    // Fails only if the thread has died.
    let _ = hand_over.send(Signals::new(handled)?);
    let _ = LAST_OF_OURS.set(number_of_a_new_handler(one)?);
    Ok(())
}

/// Whether the program seems to have a handler of its own for the signal.
///
/// If it was set after gosd's, it cannot be told for which signal it is, or whether it is still there:
/// the wait that follows is short.
pub(super) fn has_another_handler(signal: Signal) -> bool {
    if HANDLED_BEFORE.load(Ordering::SeqCst) & bit(signal) != 0 {
        return true;
    }
    match (LAST_OF_OURS.get(), number_of_a_new_handler(signal)) {
        (Some(last), Ok(now)) => now > last + 1,
        _ => false,
    }
}

/// Ends the process as the signal does by default.
pub(super) fn end(signal: Signal) {
    // The kernel applies no default action to PID 1, so the exit code follows the shell's convention.
    if std::process::id() == 1 || emulate_default_handler(signal).is_err() {
        std::process::exit(128 + signal);
    }
}

fn bit(signal: Signal) -> u64 {
    1 << (signal - 1)
}

/// A set of signals of this process, from `/proc`. Other systems have no such file, and asking them
/// would take unsafe code: there the set is empty.
fn mask(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(name));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Sets a handler that does nothing, removes it again, and returns the number that it had.
///
/// Programs that handle signals with signal-hook, or with tokio, which uses signal-hook, share one registry,
/// which numbers its handlers. A gap in the numbers shows that other handlers were set in between. The number
/// is only accessible as a hash. If it ever is not, this returns 0 and no handler is found.
fn number_of_a_new_handler(signal: Signal) -> io::Result<u128> {
    struct Number(u128);
    impl Hasher for Number {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, _: &[u8]) {}
        fn write_u128(&mut self, number: u128) {
            self.0 = number;
        }
    }
    let id: SigId = flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    unregister(id);
    let mut number = Number(0);
    id.hash(&mut number);
    Ok(number.0)
}
