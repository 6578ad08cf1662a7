//! `gosd export` and `gosd import`: all instances as lines of JSON, to be registered in another database.

use std::io::{Read, stdin};

use futures_util::stream::{self, TryStreamExt};
use gosd::{Instance, limits};

use crate::cli::ImportArgs;
use crate::context::Context;
use crate::failure::{DONE, FAILED, Failure, Outcome, tell};
use crate::output::{age, print};

/// How many instances are registered at once.
const AT_ONCE: usize = 32;

pub(crate) async fn run(context: &Context) -> Outcome {
    let backend = context.backend().await?;
    let listing = backend.list().await?;
    let text: String = listing.of(None).map(|it| it.to_json() + "\n").collect();
    print(&text)?;
    Ok(DONE)
}

pub(crate) async fn import(context: &Context, args: &ImportArgs) -> Outcome {
    let mut text = String::new();
    stdin().read_to_string(&mut text)?;
    // One that cannot be registered keeps no other out: the Go library's consumers are in every registry that is
    // to be moved, with URLs that are none.
    let mut outcome = DONE;
    let mut instances = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match read(line) {
            Ok(instance) => instances.push(instance),
            Err(why) => {
                outcome =
                    tell(Failure::Said(FAILED, format!("line {} is left out: {why}", at + 1)));
            }
        }
    }
    let backend = context.backend().await?;
    let lease = args.lease.unwrap_or(backend.settings().lease_ttl);
    // One after the other would take longer than a lease: a registry server answers when it has seen the change
    // of its database, which may take 50 ms.
    stream::iter(instances.iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |instance| backend.register(instance, lease))
        .await?;
    context.note(format!(
        "{} registered in {} for {}; nobody renews them unless their services use that database",
        instances.len(),
        backend.name(),
        age(lease)
    ));
    Ok(outcome)
}

/// The instance of a line, or why it cannot be registered.
fn read(line: &str) -> Result<Instance, String> {
    let instance = Instance::from_json(line).map_err(|error| error.to_string())?;
    // Also checks the name like one to be registered, which refuses gosd's reserved names.
    let fresh = || Instance::new(instance.service(), instance.url());
    match instance.check().and_then(|()| fresh()) {
        Ok(_) => Ok(instance),
        Err(error) => Err(format!("{}: {error}", limits::shown(instance.id().as_str()))),
    }
}
