//! `gosd watch --exec`: a command that is run with the list, after every change.

use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use gosd::{Change, Client, Instance, View};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cli::WatchArgs;
use crate::context::Context;
use crate::failure::{DONE, FAILED, Failure, Outcome};
use crate::render::render;

/// The pauses before a command that failed is run again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// So many times as long as changes have to settle, the command waits for it at most.
const PATIENCE: u32 = 10;

pub(crate) async fn run(context: &Context, args: &WatchArgs, command: &str) -> Outcome {
    let (builder, backend) = context.client().await?;
    let client = builder.start().await?;
    // From here on, so that a change during a run of the command is not missed.
    let mut changes = pin!(client.changes());
    in_contact(context, &client, backend.name()).await?;
    let mut done = None;
    let mut pause = FIRST_PAUSE;
    loop {
        // What came until now is in the list, and what comes from now on is still to be read.
        settled(&mut changes, args.settle).await;
        let list = in_rotation(&client, args.service.as_deref());
        if done.as_ref() != Some(&list) {
            done = feed(context, args, command, &list).await?.then_some(list);
        }
        let again = async {
            match done {
                None => sleep(pause).await,
                Some(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.next() => if change.is_none() { return Ok(DONE) },
            () = again => {}
        }
        pause = if done.is_none() { LAST_PAUSE.min(2 * pause) } else { FIRST_PAUSE };
    }
}

/// Waits for the first view: before it, nothing is known, which is not the same as that nothing is
/// registered.
async fn in_contact(context: &Context, client: &Client, name: &str) -> Result<(), Failure> {
    let mut status = pin!(client.status_changes());
    let mut is_told = false;
    while let Some(status) = status.next().await {
        if matches!(status.view, View::Fresh) {
            return Ok(());
        }
        if !is_told {
            is_told = true;
            context.note(format!("waiting for {name} before the first run"));
        }
    }
    Err(Failure::Said(FAILED, "the client has ended".into()))
}

/// Takes the changes that are there, and waits until no more come.
async fn settled(changes: &mut (impl StreamExt<Item = Change> + Unpin), settle: Duration) {
    let at_most = Instant::now() + PATIENCE * settle;
    let mut late = pin!(sleep_until(at_most));
    loop {
        tokio::select! {
            biased;
            () = &mut late => return,
            change = timeout(settle, changes.next()) => if !matches!(change, Ok(Some(_))) { return },
        }
    }
}

/// The instances that requests may go to, in order.
fn in_rotation(client: &Client, service: Option<&str>) -> Vec<Instance> {
    let services = service.map_or_else(|| client.services(), |service| vec![service.to_owned()]);
    let drained = client.drained();
    let is_drained = |it: &Instance| drained.iter().any(|drained| drained.id() == it.id());
    let mut list: Vec<Instance> = services
        .iter()
        .flat_map(|service| client.instances(service))
        .filter(|it| !it.service().starts_with("gosd.") && !is_drained(it))
        .map(|it| (*it).clone())
        .collect();
    list.sort_by(|a, b| (a.service(), a.id()).cmp(&(b.service(), b.id())));
    list
}

/// Runs the command with the list on its standard input; returns whether it succeeded.
async fn feed(
    context: &Context,
    args: &WatchArgs,
    command: &str,
    list: &[Instance],
) -> Result<bool, Failure> {
    let rendered = render(args.output, args.service.as_deref(), list);
    for instance in rendered.left_out {
        let (id, url) = (instance.id(), gosd::limits::shown(instance.url()));
        context.note(format!("left out: {id}, for its service or its URL ({url}) does not fit in"));
    }
    let mut child = shell(command).stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take();
    let write = async {
        if let Some(mut input) = input.take() {
            // A command that does not read it all has its reasons.
            let _ = input.write_all(rendered.text.as_bytes()).await;
        }
    };
    let ((), status) = tokio::join!(write, child.wait());
    let status = status?;
    if !status.success() {
        context.note(format!("the command failed, and will be run again: {status}"));
    }
    Ok(status.success())
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
