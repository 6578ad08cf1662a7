//! `gosd watch --exec`: runs a command with the list after every change.

#[cfg(unix)]
mod asked;
mod input;
mod shell;

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use gosd::{Change, Client, Instance, View};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cli::WatchArgs;
use crate::context::Context;
use crate::failure::{DONE, FAILED, Failure, Outcome};
use crate::render::render;

/// The pauses before a command that failed is run again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// The command is delayed by this many times the time to settle, at most.
const PATIENCE: u32 = 10;

/// What the work and who is asked to end it know of each other.
#[derive(Default)]
struct Progress {
    /// Whether the command runs.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there gosd ends at once when it is asked"))]
    runs: Cell<bool>,
    /// Whether the work ends after this run.
    is_last: Cell<bool>,
    /// The command's process group, while it runs in one of its own.
    #[cfg(unix)]
    group: Cell<Option<rustix::process::Pid>>,
}

pub(crate) async fn run(context: &Context, args: &WatchArgs, command: &str) -> Outcome {
    let progress = Progress::default();
    let work = keep_informed(context, args, command, &progress);
    #[cfg(unix)]
    let work = asked::until_asked(context, args, &progress, work);
    work.await
}

/// Runs the command now and after each change.
async fn keep_informed(
    context: &Context,
    args: &WatchArgs,
    command: &str,
    progress: &Progress,
) -> Outcome {
    let (builder, backend) = context.client().await?;
    let client = builder.start().await?;
    // Subscribed here, so that a change during a run of the command is not missed.
    let mut changes = pin!(client.changes());
    in_contact(context, &client, backend.name()).await?;
    let mut done = None;
    let mut pause = FIRST_PAUSE;
    loop {
        // The list contains all changes so far, and later ones are still in the stream.
        settled(&mut changes, args.settle).await;
        let list = in_rotation(&client, args.service.as_deref());
        if done.as_ref() != Some(&list) {
            progress.runs.set(true);
            done = feed(context, args, command, &list, progress).await?.then_some(list);
            progress.runs.set(false);
            if progress.is_last.get() {
                return Ok(DONE);
            }
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

/// Waits for the first view. Before that nothing is known, which is not the same as an empty registry.
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

/// Reads the changes that have arrived, and waits until no more arrive.
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

/// The instances in rotation, in order.
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

/// Runs the command with the list on its standard input. Returns whether it succeeded.
async fn feed(
    context: &Context,
    args: &WatchArgs,
    command: &str,
    list: &[Instance],
    progress: &Progress,
) -> Result<bool, Failure> {
    let rendered = render(args.output, args.service.as_deref(), list);
    for instance in rendered.left_out {
        let (id, url) = (instance.id(), gosd::limits::shown(instance.url()));
        context.note(format!(
            "left out: {id}, because its service or its URL ({url}) does not fit, or because another one \
             has the same name there"
        ));
    }
    let failed = shell::run(context, command, args.timeout, rendered.text, progress).await?;
    if let Some(problem) = &failed
        && !progress.is_last.get()
    {
        context.note(format!("the command failed, and will be run again: {problem}"));
    }
    Ok(failed.is_none())
}
