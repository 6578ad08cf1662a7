//! The signals that are passed on to the command.

use std::fs;

use futures_util::StreamExt;
use futures_util::stream::{self, SelectAll};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// All signals except those that no process can handle, and those that report its own faults and children.
const PASSED_ON: [Signal; 11] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::WINCH,
    Signal::IO,
    Signal::TSTP,
    Signal::CONT,
];

/// Whether a signal asks the command to end, so that the goodbye comes first.
pub(super) fn asks_to_end(signal: Signal) -> bool {
    matches!(signal, Signal::INT | Signal::QUIT | Signal::TERM)
}

/// Whether the signal goes to all processes of the command, as from a terminal.
pub(super) fn is_for_all(signal: Signal) -> bool {
    asks_to_end(signal) || matches!(signal, Signal::TSTP | Signal::CONT)
}

pub(super) struct Signals(SelectAll<stream::BoxStream<'static, Signal>>);

impl Signals {
    /// Handles the signals from now on, except those that gosd was started with as ignored, for example by
    /// `nohup`: the command ignores those, too.
    pub(super) fn new() -> Result<Self, Failure> {
        let ignored = ignored();
        let mut all = SelectAll::new();
        for passed_on in PASSED_ON {
            let number = passed_on.as_raw();
            if ignored & (1 << (number - 1)) != 0 {
                continue;
            }
            let signals = signal(SignalKind::from_raw(number))?;
            let came = stream::unfold(signals, async |mut signals| {
                signals.recv().await.map(|()| ((), signals))
            });
            all.push(came.map(move |()| passed_on).boxed());
        }
        Ok(Self(all))
    }

    pub(super) async fn next(&mut self) -> Signal {
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
