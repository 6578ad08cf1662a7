//! `gosd deregister`: removes instances that no process will deregister.

use gosd::Instance;

use crate::cli::DeregisterArgs;
use crate::context::Context;
use crate::failure::{DONE, Failure, NOTHING_FOUND, Outcome};
use crate::output::{announce, clean};
use crate::record::{InstanceLine, line};

pub(crate) async fn run(context: &Context, args: &DeregisterArgs) -> Outcome {
    let backend = context.backend().await?;
    let listing = backend.list().await?;
    let (found, missing): (Vec<&Instance>, Vec<&str>) = match &args.url {
        Some(url) => {
            let bare = |url: &str| url.strip_suffix('/').unwrap_or(url).to_owned();
            let found: Vec<_> = listing.of(None).filter(|it| bare(it.url()) == bare(url)).collect();
            let missing = if found.is_empty() { vec![url.as_str()] } else { Vec::new() };
            (found, missing)
        }
        None => {
            let ids = || args.ids.iter().map(String::as_str);
            (ids().filter_map(|id| listing.find(id)).collect(), {
                ids().filter(|id| listing.find(id).is_none()).collect()
            })
        }
    };
    let (mut failure, mut printed) = (None, Ok(()));
    for instance in found {
        match backend.deregister(instance.id()).await {
            // All are removed, whatever becomes of the output.
            Ok(()) => {
                printed = printed.and_then(|()| {
                    announce(&match context.json {
                        true => line(&InstanceLine::new(instance)),
                        false => format!("{}\n", clean(instance.id().as_str())),
                    })
                });
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    if !missing.is_empty() {
        let text = format!("not registered in {}: {}", backend.name(), missing.join(", "));
        return Err(Failure::Said(NOTHING_FOUND, text));
    }
    context.note("whoever still lives registers again with its next heartbeat");
    printed?;
    Ok(DONE)
}
