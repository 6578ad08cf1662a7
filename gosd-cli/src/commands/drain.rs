//! `gosd drain` and `gosd undrain`: take an instance out of every client's rotation for a limited time.

use gosd::{Instance, InstanceId};

use crate::cli::{DrainArgs, UndrainArgs};
use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::output::{age, announce};
use crate::record::{InstanceLine, line};

pub(crate) async fn run(context: &Context, args: &DrainArgs) -> Outcome {
    let backend = context.backend().await?;
    let listing = backend.list().await?;
    let Some(target) = listing.find(&args.id) else {
        let name = backend.name();
        let text =
            format!("{} is not registered in {name}; `gosd ls SERVICE` shows the ids", args.id);
        return Err(Failure::nothing_found(text));
    };
    backend.register(&Instance::drain_of(target.id()), args.lease).await?;
    if context.json {
        announce(&line(&InstanceLine::new(target).drained(true)))?;
    }
    context.note(format!("{} is drained for {}", args.id, age(args.lease)));
    let service = target.service();
    let is_open = |it: &&Instance| it.id() != target.id() && !listing.is_drained(it);
    if listing.of(Some(service)).find(is_open).is_none() {
        context.note(format!("nobody is left in the rotation of {service}"));
    }
    Ok(DONE)
}

pub(crate) async fn undo(context: &Context, args: &UndrainArgs) -> Outcome {
    let backend = context.backend().await?;
    let target = InstanceId::from(args.id.as_str());
    // The drained instance may be gone while the record of the drain still exists.
    if !backend.list().await?.is_draining(&target) {
        let text = format!("{} is not drained in {}", args.id, backend.name());
        return Err(Failure::nothing_found(text));
    }
    backend.deregister(Instance::drain_of(&target).id()).await?;
    context.note(format!("{} is back in the rotation", args.id));
    Ok(DONE)
}
