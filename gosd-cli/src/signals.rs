//! Signals: a stream of them, and how they end the first process of a container.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::StreamExt;
use futures_util::stream::{self, SelectAll};
use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{FAILED, Failure};

/// Has SIGINT and SIGTERM end the first process of a container, at once and whatever the runtime is doing, for as long
/// as the flag that this returns is set. The kernel applies no default action to that process: a signal that it does
/// not handle is lost.
pub(crate) fn end_the_first_process() -> Result<Arc<AtomicBool>, Failure> {
    let ends = Arc::new(AtomicBool::new(is_first_process()));
    if is_first_process() {
        for kind in [SIGINT, SIGTERM] {
            register_conditional_shutdown(kind, 128 + kind, Arc::clone(&ends))?;
        }
    }
    Ok(ends)
}

/// Ends the process as the signal does by default. Where it cannot, returns the exit code that a shell has for it.
pub(crate) fn end(signal: Signal) -> u8 {
    let number = signal.as_raw();
    if !is_first_process() {
        let _ = emulate_default_handler(number);
    }
    u8::try_from(128 + number).unwrap_or(FAILED)
}

fn is_first_process() -> bool {
    std::process::id() == 1
}

/// Signals that do not take their default action, but come one after the other.
pub(crate) struct Signals(SelectAll<stream::BoxStream<'static, Signal>>);

impl Signals {
    /// Handles these signals from now on, except those that gosd was started with as ignored, for example by
    /// `nohup`: what it runs ignores those, too.
    pub(crate) fn of(handled: &[Signal]) -> Result<Self, Failure> {
        let ignored = ignored();
        let mut all = SelectAll::new();
        for &handled in handled {
            let number = handled.as_raw();
            if ignored & (1 << (number - 1)) != 0 {
                continue;
            }
            let signals = signal(SignalKind::from_raw(number))?;
            let came = stream::unfold(signals, async |mut signals| {
                signals.recv().await.map(|()| ((), signals))
            });
            all.push(came.map(move |()| handled).boxed());
        }
        Ok(Self(all))
    }

    /// Waits for the next signal, for ever if none is handled.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.0.next().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// The ignored signals as a bit mask, which Linux shows in a file; elsewhere only unsafe code could ask.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
