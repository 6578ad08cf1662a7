//! What this program is for a moment in the command's place: it asks the kernel to end with its
//! parent, which a process can only ask for itself, and then becomes the command.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::output::clean;

/// The first argument by which `gosd run` starts this; nobody else does.
pub(crate) const NAME: &str = "__become";

/// What shells exit with if there is no such command, and if it cannot be run.
const NO_SUCH_COMMAND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Becomes the command; returns the exit code if that fails.
///
/// The arguments are the number of the parent, the command, and its arguments.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> u8 {
    let parent = args.next().unwrap_or_default();
    let Some(command) = args.next() else { return NO_SUCH_COMMAND };
    if is_orphan(&parent) {
        return NOT_EXECUTABLE;
    }
    let error = Command::new(&command).args(args).exec();
    let text = format!("{}: {error}", command.display());
    // Without standard error there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "gosd: {}", clean(&text));
    if error.kind() == ErrorKind::NotFound { NO_SUCH_COMMAND } else { NOT_EXECUTABLE }
}

/// Asks for SIGTERM when the parent dies; true if it has died already.
#[cfg(target_os = "linux")]
fn is_orphan(parent: &OsString) -> bool {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    // Fails on no Linux that runs Rust; without it the command would only outlive `kill -9` of gosd.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    let now = getppid().map(|parent| parent.as_raw_nonzero().to_string());
    now.is_none_or(|now| *parent != *now)
}

/// Elsewhere no process can ask for that.
#[cfg(not(target_os = "linux"))]
fn is_orphan(_: &OsString) -> bool {
    false
}
