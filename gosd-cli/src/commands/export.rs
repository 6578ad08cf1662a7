//! `gosd export` and `gosd import`: all instances as lines of JSON, to be registered in another database.

use std::io::{Read, stdin};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use gosd::{ErrorKind, Instance, Result, limits};
use tokio::time::sleep;

use crate::backend::Backend;
use crate::cli::ImportArgs;
use crate::context::Context;
use crate::failure::{DONE, FAILED, Failure, Outcome, USAGE, code_of, tell, with_causes};
use crate::output::{age, print};

/// How many instances are registered at once; if so many fail one after the other, it is not for their own sake.
const AT_ONCE: usize = 32;
/// The pause before a registration that failed is tried once more.
const PAUSE: Duration = Duration::from_secs(1);

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
    let calls = instances.iter().map(|instance| register(&backend, instance, lease));
    // One after the other would take longer than a lease: a registry server answers when it has seen the change
    // of its database, which may take 50 ms.
    let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
    let (mut registered, mut failed, mut in_a_row) = (0, 0, 0);
    while let Some((instance, result)) = calls.next().await {
        let Err(error) = result else {
            (registered, in_a_row) = (registered + 1, 0);
            continue;
        };
        (failed, in_a_row) = (failed + 1, in_a_row + 1);
        let is_of_all = error.kind() == ErrorKind::Denied || in_a_row == AT_ONCE;
        let code = match code_of(error.kind()) {
            // A server that does not take one instance, such as for its id.
            USAGE if !is_of_all => FAILED,
            code => code,
        };
        let id = limits::shown(instance.id().as_str());
        let text = format!("{id} is left out: {}", with_causes(&error));
        outcome = outcome.max(tell(Failure::Said(code, text)));
        if is_of_all {
            let rest = instances.len() - registered - failed;
            tell(Failure::Said(code, format!("given up: {rest} more are left out")));
            break;
        }
    }
    context.note(format!(
        "{registered} registered in {} for {}; nobody renews them unless their services use that database",
        backend.name(),
        age(lease)
    ));
    Ok(outcome)
}

/// Registers an instance, in a second attempt if the first one failed and may succeed later.
async fn register<'a>(
    backend: &Backend,
    instance: &'a Instance,
    lease: Duration,
) -> (&'a Instance, Result<()>) {
    let result = match backend.register(instance, lease).await {
        Err(error) if error.is_retryable() => {
            sleep(PAUSE).await;
            backend.register(instance, lease).await
        }
        result => result,
    };
    (instance, result)
}

/// The instance of a line, or why it cannot be registered.
fn read(line: &str) -> std::result::Result<Instance, String> {
    let instance = Instance::from_json(line).map_err(|error| error.to_string())?;
    // Also checks the name like one to be registered, which refuses gosd's reserved names.
    let fresh = || Instance::new(instance.service(), instance.url());
    match instance.check().and_then(|()| fresh()) {
        Ok(_) => Ok(instance),
        Err(error) => Err(format!("{}: {error}", limits::shown(instance.id().as_str()))),
    }
}
