//! `gosd doctor`: finds problems of this environment, the database, and what is registered there.

mod dial;
mod facts;
mod records;
mod report;
mod rights;

use std::time::Duration;

use gosd::Fact;
use tokio::time::{Instant, timeout};

use self::report::{Finding, Report};
use crate::backend::Backend;
use crate::cli::DoctorArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::listing::Listing;
use crate::output::age;

/// A check that takes longer says what it does.
const LONG: Duration = Duration::from_secs(1);
/// How many times the registry is read to measure the latency, and for how long at most.
const READS: usize = 9;
const READING: Duration = Duration::from_secs(2);
/// Reads are slow if they take more than one such part of the bound of a call.
const SLOW: u32 = 10;

pub(crate) async fn run(context: &Context, args: &DoctorArgs) -> Outcome {
    let mut report = Report::new(context);
    for (name, meant) in context.environment.misspelt() {
        report.add(Finding::new(
            "misspelt-variable",
            format!("gosd has no variable {name}, so it changes nothing"),
            format!("unset it, or rename it to {meant}"),
        ))?;
    }
    match context.backend().await {
        Ok(backend) => examine(context, args, &backend, &mut report).await?,
        Err(error) => report.fatal(&error)?,
    }
    Ok(report.code())
}

async fn examine(
    context: &Context,
    args: &DoctorArgs,
    backend: &Backend,
    report: &mut Report<'_>,
) -> std::io::Result<()> {
    const CHOOSING: [&str; 4] = ["gosdDriver", "gosdRedisAddr", "gosdRedisDB", "gosdRedisPassword"];
    let name = backend.name();
    if !CHOOSING.iter().any(|name| context.environment.is_set(name)) {
        report.add(Finding::new(
            "driver-unset",
            format!("gosdDriver is not set, so gosd uses {name}"),
            "set gosdDriver to the database of the services, in every environment alike".into(),
        ))?;
    }
    let found = diagnose(context, backend).await;
    if let Ok(facts) = &found
        && let Some(Fact::Absent { what, advice }) =
            facts.iter().find(|fact| matches!(fact, Fact::Absent { .. }))
    {
        // A read would create the file.
        return report.add(Finding::new("no-file", what.clone(), advice.clone()));
    }
    let began = Instant::now();
    let listing = match backend.list().await {
        Ok(listing) => listing,
        Err(error) => {
            // What the driver diagnosed may explain the error. A check that it could not do explains nothing.
            let is_known = |it: &Fact| !matches!(it, Fact::Trouble { name: "not-checked", .. });
            let troubles = found.unwrap_or_default().into_iter().filter(is_known);
            facts::check(troubles, backend.settings().lease_ttl, report)?;
            return report.fatal(&error);
        }
    };
    let median = latency(backend, began.elapsed()).await;
    let patience = backend.settings().timeout;
    if median * SLOW >= patience {
        report.add(Finding::new(
            "slow",
            format!("reading {name} takes {median:.0?}, of the {patience:?} that a call may take"),
            "see what keeps the database or the network busy: heartbeats that take too long lose \
             their leases"
                .into(),
        ))?;
    }
    rights::check(backend, report).await?;
    match found {
        Ok(facts) => facts::check(facts.into_iter(), backend.settings().lease_ttl, report)?,
        Err(error) => report.add(Finding::new(
            "not-checked",
            format!("not everything about {name} could be checked: {error}"),
            "give the user of gosd the right to ask, or check by hand".into(),
        ))?,
    }
    records::check(context, &listing, report)?;
    if args.dial {
        dial::check(context, &listing, report).await?;
    }
    context.note(summary(name, &listing, median, report));
    Ok(())
}

/// The driver's own diagnosis, which is not part of the contract.
async fn diagnose(context: &Context, backend: &Backend) -> gosd::Result<Vec<Fact>> {
    // Measuring how long leases are takes a third of a lease.
    let bound = 2 * backend.settings().timeout + backend.settings().lease_ttl / 2;
    let mut work = Box::pin(timeout(bound, context.environment.diagnose()));
    let done = match timeout(LONG, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            let (name, bound) = (backend.name(), age(bound));
            context.note(format!("checking {name} and its leases, for {bound} at most"));
            work.await
        }
    };
    let late = || {
        let text = format!("no answer within {bound:?}");
        Err(gosd::Error::new(gosd::ErrorKind::Timeout, text))
    };
    done.unwrap_or_else(|_| late())
}

/// How long a read of the registry takes: the median of some reads after the first, which also had to
/// connect.
async fn latency(backend: &Backend, first: Duration) -> Duration {
    let began = Instant::now();
    let mut reads = Vec::new();
    while reads.len() < READS && began.elapsed() < READING {
        let read = Instant::now();
        if backend.list().await.is_err() {
            break;
        }
        reads.push(read.elapsed());
    }
    reads.sort_unstable();
    reads.get(reads.len() / 2).copied().unwrap_or(first)
}

fn summary(name: &str, listing: &Listing, median: Duration, report: &Report<'_>) -> String {
    let instances = match listing.of(None).count() {
        1 => "1 instance".to_owned(),
        count => format!("{count} instances"),
    };
    let found = match report.count() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    format!("{name}: {instances}, read in {median:.1?}; {found}")
}
