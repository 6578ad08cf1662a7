//! The signals that are passed on to the command.

use rustix::process::Signal;

/// All signals except those that no process can handle, and those that report its own faults and children.
pub(super) const PASSED_ON: [Signal; 11] = [
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
