//! Stops all clients and members of a trial at once, as a suspended machine or a paused container does.

use std::fs;
use std::time::Duration;

use tokio::process::Command;

/// Stops this process and its members (`SIGSTOP`) for a time, and then continues them (`SIGCONT`).
///
/// The backend's servers are not stopped.
pub(crate) async fn freeze(lasting: Duration) {
    let own = std::process::id();
    let members = members(own).map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
    let seconds = lasting.as_secs_f64();
    // A stopped process cannot continue itself, so a shell does it. A member may end just before.
    let script = format!(
        "kill -STOP {members} 2>/dev/null; kill -STOP {own} && sleep {seconds} && kill -CONT {own} || exit
         kill -CONT {members} 2>/dev/null; true"
    );
    let status = Command::new("sh").args(["-c", &script]).status().await;
    assert!(status.expect("there is a shell").success(), "it can be stopped: {script}");
}

/// The ids of the member processes that this process has started.
fn members(own: u32) -> impl Iterator<Item = u32> {
    let all = fs::read_dir("/proc").expect("this is Linux").flatten();
    all.filter_map(move |entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let is_child = status.lines().any(|line| line == format!("PPid:\t{own}"));
        (is_child && command.split('\0').nth(1) == Some("member")).then_some(id)
    })
}
