//! `gosd ls`: lists the services, or the instances of one.

use std::collections::BTreeMap;

use anstyle::Style;
use gosd::Instance;

use crate::cli::{Column, LsArgs};
use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::listing::{Listing, age};
use crate::output::{self, ASIDE, Table, clean, print};
use crate::record::{InstanceLine, ServiceLine, line};

pub(crate) async fn run(context: &Context, args: &LsArgs) -> Outcome {
    let backend = context.backend().await?;
    let listing = backend.list().await?;
    let service = args.service.as_deref();
    let found = || listing.of(service).filter(|it| args.labels.match_all(it));
    if found().next().is_none() {
        let what = match service {
            Some(service) => format!("no instance of {service}"),
            None => "nothing".into(),
        };
        let like = if args.labels.labels.is_empty() { "" } else { " with this metadata" };
        let text = format!("{what}{like} is registered in {}", backend.name());
        return Err(Failure::nothing_found(text));
    }
    let text = match (args.output, service) {
        (Some(column), _) => found().map(|it| format!("{}\n", cell(it, column))).collect(),
        (None, None) if context.json => {
            services(&listing, found()).iter().map(line).collect::<String>()
        }
        (None, None) => table_of_services(&services(&listing, found())),
        (None, Some(_)) if context.json => {
            let of = |it| line(&InstanceLine::new(it).drained(listing.is_drained(it)));
            found().map(of).collect()
        }
        (None, Some(_)) => table_of_instances(&listing, found()),
    };
    print(&text)?;
    Ok(DONE)
}

fn cell(instance: &Instance, column: Column) -> String {
    let text = match column {
        Column::Url => instance.url(),
        Column::Id => instance.id().as_str(),
    };
    clean(text).into_owned()
}

fn services<'a>(
    listing: &Listing,
    instances: impl Iterator<Item = &'a Instance>,
) -> Vec<ServiceLine<'a>> {
    let mut services = BTreeMap::new();
    for instance in instances {
        let service = instance.service();
        let line =
            services.entry(service).or_insert(ServiceLine { service, instances: 0, drained: 0 });
        line.instances += 1;
        line.drained += usize::from(listing.is_drained(instance));
    }
    services.into_values().collect()
}

fn table_of_services(services: &[ServiceLine<'_>]) -> String {
    let mut table = Table::new(["SERVICE", "INSTANCES", "DRAINED"]);
    for it in services {
        let drained = if it.drained == 0 { String::new() } else { it.drained.to_string() };
        let plain = Style::new();
        table.row([(it.service, plain), (&it.instances.to_string(), plain), (&drained, ASIDE)]);
    }
    table.to_text()
}

fn table_of_instances<'a>(
    listing: &Listing,
    instances: impl Iterator<Item = &'a Instance>,
) -> String {
    let mut table = Table::new(["URL", "AGE", "STATE", "ID", "METADATA"]);
    for it in instances {
        let (state, style) = match listing.is_drained(it) {
            true => ("drained", ASIDE),
            false => ("", Style::new()),
        };
        let age = age(it.id()).map_or_else(|| "?".into(), output::age);
        let metadata: Vec<String> =
            it.metadata().iter().map(|(key, value)| format!("{key}={value}")).collect();
        let plain = Style::new();
        table.row([
            (it.url(), plain),
            (&age, plain),
            (state, style),
            (it.id().as_str(), plain),
            (&metadata.join(" "), plain),
        ]);
    }
    table.to_text()
}
