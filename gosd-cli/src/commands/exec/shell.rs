//! One run of the command.

use std::io;
use std::time::Duration;

use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Progress, input};
use crate::context::Context;

/// After this time a message says that changes wait.
const LONG: Duration = Duration::from_secs(10);

/// Runs the command with this text on its standard input, for as long as the bound at most. Returns what went
/// wrong, if something did.
pub(super) async fn run(
    context: &Context,
    command: &str,
    bound: Option<Duration>,
    text: String,
    progress: &Progress,
) -> io::Result<Option<String>> {
    let input = spawn_blocking(move || input::holding(&text)).await??;
    let mut shell = shell(command);
    #[cfg(unix)]
    if bound.is_some() {
        shell.process_group(0);
    }
    let mut child = shell.stdin(input).spawn()?;
    drop(shell);
    #[cfg(unix)]
    progress.set_group(bound.and(child.id()));
    let ended = async {
        if let Ok(status) = timeout(LONG, child.wait()).await {
            return status;
        }
        context.note(format!("the command has run for {LONG:?}; later changes wait for its end"));
        child.wait().await
    };
    let bound = bound.unwrap_or(Duration::MAX);
    let ended = timeout(bound, ended).await;
    if ended.is_err() {
        #[cfg(unix)]
        progress.end_group().await;
        child.wait().await?;
    }
    #[cfg(unix)]
    progress.set_group(None);
    Ok(match ended {
        Ok(status) => Some(status?).filter(|it| !it.success()).map(|it| it.to_string()),
        Err(_) => Some(format!("it had not ended after {bound:?}")),
    })
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.args(["/C", command]);
    shell
}
