//! `gosd migrate`: the migration from one database to another.

use anstyle::Style;
use futures_util::future::try_join;
use gosd::{Drivers, Instance};

use crate::backend::Backend;
use crate::cli::StatusArgs;
use crate::context::Context;
use crate::failure::{DONE, FAILED, Failure, Outcome, USAGE};
use crate::listing::age;
use crate::output::{self, Table, announce};
use crate::record::{InstanceLine, line};

/// Lists the instances that are in the old database and not in the new one.
pub(crate) async fn status(context: &Context, args: &StatusArgs) -> Outcome {
    let mut environment = context.environment.clone();
    for (variable, url) in [("gosdDriver", &args.old), ("gosdDriverAlso", &args.new)] {
        if let Some(url) = url {
            environment = environment.with(variable, url)?;
        }
    }
    let (old, Some(new)) = environment.databases(&Drivers::compiled()).await? else {
        let text = "name the old database and the new one, or set gosdDriver and gosdDriverAlso";
        return Err(Failure::Said(USAGE, text.into()));
    };
    let [old, new] = [old, new].map(|driver| {
        // Both databases have the same settings.
        environment.settings().map(|settings| Backend::new(driver, settings))
    });
    let (old, new) = (old?, new?);
    let (in_old, in_new) = try_join(old.list(), new.list()).await?;
    let only_in_old: Vec<&Instance> =
        in_old.of(None).filter(|it| in_new.find(it.id().as_str()).is_none()).collect();
    // The exit code says how far it is, whether or not somebody reads who is missing.
    announce(&match context.json {
        true => only_in_old.iter().map(|it| line(&InstanceLine::new(it))).collect(),
        false if only_in_old.is_empty() => String::new(),
        false => table(&only_in_old),
    })?;
    let all = in_old.of(None).count();
    if only_in_old.is_empty() {
        context.note(match all {
            0 => format!("nobody is registered in {}", old.name()),
            all => format!("all {all} that are in {} are in {}, too", old.name(), new.name()),
        });
        return Ok(DONE);
    }
    let some = only_in_old.len();
    context.note(format!("{some} of the {all} in {} are not in {}", old.name(), new.name()));
    Ok(FAILED)
}

fn table(instances: &[&Instance]) -> String {
    let mut table = Table::new(["SERVICE", "URL", "AGE", "ID"]);
    for it in instances {
        let age = age(it.id()).map_or_else(|| "?".into(), output::age);
        let cells = [it.service(), it.url(), &age, it.id().as_str()];
        table.row(cells.map(|cell| (cell, Style::new())));
    }
    table.to_text()
}
