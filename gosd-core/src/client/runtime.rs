//! Checks that the runtime has what a client needs, before tokio panics because it has not.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::{Error, Result};

/// The runtime of the caller, if a client can run on it.
pub(super) fn current() -> Result<Handle> {
    let runtime = Handle::try_current().map_err(|_| {
        Error::config("a client runs on tokio: call this from within a tokio runtime")
    })?;
    if panics_in_silence(|| drop(sleep(Duration::ZERO))) {
        return Err(Error::config(
            "the tokio runtime has no timers: build it with enable_all(), or with enable_time()",
        ));
    }
    Ok(runtime)
}

/// Whether a probe panics; nothing is printed if it does.
///
/// Tokio reports a missing component of a runtime only by a panic.
pub fn panics_in_silence(probe: impl FnOnce()) -> bool {
    thread_local!(static IS_PROBING: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();

    // With `panic = "abort"` the probe itself would end the process, and a thread that is panicking
    // cannot change the hook: neither is probed.
    if cfg!(panic = "abort") || std::thread::panicking() {
        return false;
    }
    // The hook stays, because restoring the former hook would undo one that others have set meanwhile.
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // A thread that is ending has no thread-locals any more, and probes nothing.
            if !IS_PROBING.try_with(Cell::get).unwrap_or_default() {
                print(panic);
            }
        }));
    });
    IS_PROBING.set(true);
    let has_panicked = panic::catch_unwind(AssertUnwindSafe(probe)).is_err();
    IS_PROBING.set(false);
    has_panicked
}
