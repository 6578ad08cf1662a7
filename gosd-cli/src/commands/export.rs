//! `gosd export` and `gosd import`: all instances as lines of JSON, to be registered in another database.

use std::io::{Read, stdin};

use futures_util::stream::{self, TryStreamExt};
use gosd::{Error, Instance};

use crate::cli::ImportArgs;
use crate::context::Context;
use crate::failure::{DONE, FAILED, Failure, Outcome};
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
    // All lines are checked before the first instance is registered.
    let instances: Vec<Instance> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            read(line).map_err(|error| Failure::Said(FAILED, format!("line {}: {error}", at + 1)))
        })
        .collect::<Result<_, _>>()?;
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
    Ok(DONE)
}

fn read(line: &str) -> Result<Instance, Error> {
    let instance = Instance::from_json(line)?;
    instance.check()?;
    // Checks the name like one to be registered, which refuses gosd's reserved names.
    Instance::new(instance.service(), instance.url())?;
    Ok(instance)
}
