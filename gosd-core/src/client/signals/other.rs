//! Ctrl-C, where there are no other signals.

use std::{io, thread};

use tokio::runtime::Builder;
use tokio::signal::ctrl_c;

/// What Windows gives as the exit code of a program that Ctrl-C ended.
const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;

pub(super) type Signal = &'static str;

pub(super) fn listen(on_signal: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
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

/// Whether the program seems to have a handler of its own: there is no way to tell.
pub(super) fn has_another_handler(_: Signal) -> bool {
    false
}

/// Ends the process as Ctrl-C does by default.
pub(super) fn end(_: Signal) {
    std::process::exit(STATUS_CONTROL_C_EXIT.cast_signed());
}
