//! Tries whether each URL accepts connections from this host.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gosd::limits::join_host;
use tokio::time::{Instant, timeout, timeout_at};

use super::LONG;
use super::report::{Finding, Report, some_of};
use crate::context::Context;
use crate::listing::Listing;
use crate::output::age;
use crate::target::{connect, target};

/// How many addresses are dialed at once.
const AT_ONCE: usize = 64;
/// How long one address may take to accept, and all of them together.
const EACH: Duration = Duration::from_secs(2);
const ALL: Duration = Duration::from_secs(60);

pub(super) async fn check(
    context: &Context,
    listing: &Listing,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let mut addresses: BTreeMap<(&str, u16), Vec<String>> = BTreeMap::new();
    let mut without = 0;
    for instance in listing.of(None) {
        match target(instance.url()).filter(|target| target.port != 0) {
            Some(target) => {
                let ids = addresses.entry((target.host, target.port)).or_default();
                ids.push(instance.id().as_str().to_owned());
            }
            None => without += 1,
        }
    }
    let count = addresses.len();
    let mut dialed = stream::iter(addresses)
        .map(|((host, port), ids)| async move {
            let failure = match timeout(EACH, connect(host, port)).await {
                Ok(connected) => connected.err().map(|error| error.to_string()),
                Err(_) => Some(format!("no answer within {EACH:?}")),
            };
            (join_host(host, port), ids, failure)
        })
        .buffer_unordered(AT_ONCE);
    let began = Instant::now();
    let (mut done, mut is_told) = (0, false);
    while let Ok(Some((address, ids, failure))) = timeout_at(began + ALL, dialed.next()).await {
        done += 1;
        if !is_told && began.elapsed() > LONG {
            is_told = true;
            context.note(format!("dialing {count} addresses, for {} at most", age(ALL)));
        }
        let Some(failure) = failure else { continue };
        let what = format!("nobody takes connections at {address}: {failure} ({})", some_of(&ids));
        let advice = "if the service is dead and has no lease, gosd deregister removes it; if it lives, \
                      it is registered under an address that this host cannot reach";
        report.add(Finding::new("no-answer", what, advice.into()).about(ids))?;
    }
    if done < count {
        context.note(format!("{} of {count} addresses were not dialed in time", count - done));
    }
    if without > 0 {
        context.note(format!("instances not dialed, because their URLs have no port: {without}"));
    }
    Ok(())
}
