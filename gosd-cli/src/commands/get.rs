//! `gosd get`: prints one URL of a service, for a shell.

use std::sync::Arc;
use std::time::Duration;

use gosd::{ErrorKind, Instance};
use tokio::time::timeout;

use crate::cli::GetArgs;
use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::listing::Listing;
use crate::output::{age, clean, print};
use crate::record::{InstanceLine, line};

/// A longer wait is announced.
const LONG: Duration = Duration::from_secs(1);

pub(crate) async fn run(context: &Context, args: &GetArgs) -> Outcome {
    let found = match args.wait {
        None => at_once(context, args).await?,
        Some(wait) => waiting(context, args, wait).await?,
    };
    print(&match context.json {
        true => line(&InstanceLine::new(&found)),
        false => format!("{}\n", clean(found.url())),
    })?;
    Ok(DONE)
}

async fn at_once(context: &Context, args: &GetArgs) -> Result<Arc<Instance>, Failure> {
    let backend = context.backend().await?;
    let listing = backend.list().await?;
    if let Some(found) = any_of(&listing, args) {
        return Ok(found);
    }
    let name = backend.name();
    Err(Failure::nothing_found(match matching(&listing, args).count() {
        0 => format!("no such instance of {} is registered in {name}", args.service),
        count => format!("{} has {count} in {name}, and all of them are drained", args.service),
    }))
}

/// A random instance, because each process would begin its own rotation.
fn any_of(listing: &Listing, args: &GetArgs) -> Option<Arc<Instance>> {
    let open: Vec<&Instance> =
        matching(listing, args).filter(|it| !listing.is_drained(it)).collect();
    fastrand::choice(open).map(|found| Arc::new(found.clone()))
}

fn matching<'a>(listing: &'a Listing, args: &'a GetArgs) -> impl Iterator<Item = &'a Instance> {
    listing.of(Some(&args.service)).filter(|it| args.labels.match_all(it))
}

async fn waiting(
    context: &Context,
    args: &GetArgs,
    wait: Duration,
) -> Result<Arc<Instance>, Failure> {
    let (builder, backend) = context.client().await?;
    let settings = backend.settings().clone();
    let settings = settings.try_find_service_amount(1).try_find_service_delay(wait);
    let labels = args.labels.clone();
    let work = async {
        let client = builder.settings(settings).start().await?;
        client.service_where(&args.service, move |it| labels.match_all(it)).next().await
    };
    // The start may take long, too, if the database does not answer.
    let work = timeout(wait, work);
    tokio::pin!(work);
    let found = match timeout(LONG, &mut work).await {
        Ok(found) => found,
        Err(_) => {
            let (service, name) = (&args.service, backend.name());
            context.note(format!("waiting for {service} in {name}, for {} at most", age(wait)));
            work.await
        }
    };
    let too_late = || {
        let (service, name) = (&args.service, backend.name());
        Failure::nothing_found(format!(
            "no such instance of {service} within {} in {name}",
            age(wait)
        ))
    };
    match found {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Err(too_late()),
        Ok(Err(error)) => Err(error.into()),
        // One more read tells whether the database or the instance was missing. If the wait was too short for
        // the first one, there may be an instance.
        Err(_) => any_of(&backend.list().await?, args).ok_or_else(too_late),
    }
}
