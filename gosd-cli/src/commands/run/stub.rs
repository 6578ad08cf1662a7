//! A stub that runs for a moment in the command's place. It asks the kernel for a signal when its parent
//! dies, which a process can only ask for itself, and then executes the command.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::output::clean;

/// The first argument by which `gosd run` starts this stub. Nothing else uses it.
pub(crate) const NAME: &str = "__become";

/// The exit codes of shells for a command that does not exist, and for one that cannot be executed.
const NO_SUCH_COMMAND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Executes the command. Returns the exit code if that fails.
///
/// The arguments are the process id of the parent, the command, and its arguments.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> u8 {
    let parent = args.next().unwrap_or_default();
    let Some(command) = args.next() else { return NO_SUCH_COMMAND };
    if is_orphan(&parent) {
        return NOT_EXECUTABLE;
    }
    let error = Command::new(&command).args(args).exec();
    let text = format!("{}: {error}", command.display());
    // If standard error is closed, the message is lost.
    let _ = writeln!(anstream::stderr(), "gosd: {}", clean(&text));
    if error.kind() == ErrorKind::NotFound { NO_SUCH_COMMAND } else { NOT_EXECUTABLE }
}

/// Asks for SIGTERM when the parent dies. Returns true if the parent has died already.
#[cfg(target_os = "linux")]
fn is_orphan(parent: &OsString) -> bool {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    // This fails on no Linux that Rust supports. Without it the command would merely outlive a `kill -9` of
    // gosd.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    let now = getppid().map(|parent| parent.as_raw_nonzero().to_string());
    now.is_none_or(|now| *parent != *now)
}

/// No other system can do this.
#[cfg(not(target_os = "linux"))]
fn is_orphan(_: &OsString) -> bool {
    false
}
