//! `gosd register`: registers an instance by hand, for one lease or as long as the command runs.

use std::pin::pin;
#[cfg(unix)]
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use gosd::{Instance, Registration};

use crate::cli::RegisterArgs;
use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::output::{age, announce, clean};
use crate::record::{InstanceLine, line};
#[cfg(unix)]
use crate::signals;

pub(crate) async fn run(context: &Context, args: RegisterArgs) -> Outcome {
    let mut instance = Instance::new(&args.service, &args.url)?;
    for (key, value) in &args.metadata {
        instance = instance.with_metadata(key, value);
    }
    instance.check()?;
    context.environment.check_reachable(&args.url)?;
    if args.hold {
        return hold(context, instance).await;
    }
    let backend = context.backend().await?;
    let lease = args.lease.unwrap_or(backend.settings().lease_ttl);
    backend.register(&instance, lease).await?;
    tell(context, &instance)?;
    context.note(format!("registered for {}; nobody renews it (--hold does)", age(lease)));
    Ok(DONE)
}

async fn hold(context: &Context, instance: Instance) -> Outcome {
    let (builder, backend) = context.client().await?;
    // The start takes a while where the database does not answer, and nobody handles signals yet.
    #[cfg(unix)]
    let ends_at_once = signals::end_the_first_process()?;
    let client = builder.register_instance(instance.clone()).start().await?;
    let mut asked_to_end = pin!(client.shutdown_on_signal());
    #[cfg(unix)]
    ends_at_once.store(false, Ordering::Relaxed);
    let mut status = client.status_changes();
    tell(context, &instance)?;
    loop {
        tokio::select! {
            () = &mut asked_to_end => return Ok(DONE),
            status = status.next() => match status.map(|status| status.registration) {
                Some(Registration::Registered) => context.note("registered, until Ctrl-C"),
                Some(Registration::Standalone { error, .. } | Registration::Retrying { error, .. }) => {
                    context.note(format!("not renewed in {}: {error}; trying again", backend.name()));
                }
                Some(_) => {}
                None => std::future::pending().await,
            },
        }
    }
}

/// Prints only the id, for a later `gosd deregister`.
fn tell(context: &Context, instance: &Instance) -> Result<(), Failure> {
    announce(&match context.json {
        true => line(&InstanceLine::new(instance)),
        false => format!("{}\n", clean(instance.id().as_str())),
    })?;
    Ok(())
}
