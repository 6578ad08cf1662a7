//! Findings about what is registered: URLs that other hosts cannot reach, duplicate ones, and invalid ones.

use std::collections::BTreeMap;
use std::io;

use gosd::Instance;
use gosd::limits::{is_loopback, is_wildcard, join_host, shown};

use super::report::{Finding, Report, some_of};
use crate::context::Context;
use crate::listing::Listing;
use crate::target::target;

/// The ids of instances, by a common property.
type Groups<K> = BTreeMap<K, Vec<String>>;

pub(super) fn check(
    context: &Context,
    listing: &Listing,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let mut at_one_url: Groups<(&str, &str)> = Groups::new();
    let mut wildcards: Groups<&str> = Groups::new();
    let mut loopbacks: Groups<&str> = Groups::new();
    for instance in listing.of(None) {
        let (id, url) = (instance.id().as_str().to_owned(), instance.url());
        let bare = url.strip_suffix('/').unwrap_or(url);
        at_one_url.entry((instance.service(), bare)).or_default().push(id.clone());
        match host_of(instance) {
            Some(host) if is_wildcard(host) => wildcards.entry(host).or_default().push(id),
            Some(host) if is_loopback(host) => loopbacks.entry(host).or_default().push(id),
            _ => invalid(instance, report)?,
        }
    }
    for (host, ids) in wildcards {
        let what = format!(
            "{host} stands for every address of a host, and nobody can connect to it: {}",
            some_of(&ids)
        );
        let advice = "have the service register an address that others can reach, such as \
                      gosd::advertise returns or gosdAdvertise sets";
        report.add(Finding::new("wildcard-url", what, advice.into()).about(ids))?;
    }
    for (host, ids) in loopbacks {
        // Where all services are on this host, or are said to be, a loopback address is fine.
        if context.environment.check_reachable(&format!("http://{}", join_host(host, 80))).is_ok() {
            continue;
        }
        let what = format!(
            "{host} can be reached only from the instance's own host, and the database is shared with \
             others: {}",
            some_of(&ids)
        );
        let advice = "have the service register an address that others can reach, by gosdAdvertise; if \
                      everybody is on one host, set it to this one";
        report.add(Finding::new("loopback-url", what, advice.into()).about(ids))?;
    }
    for ((service, url), ids) in at_one_url.into_iter().filter(|(_, ids)| ids.len() > 1) {
        let what =
            format!("{} of {service} have one URL, {}: {}", ids.len(), shown(url), some_of(&ids));
        let advice = "one of them may have been killed, and is gone when its lease ends: gosd deregister \
                      removes it now; if they live, they have the same address by mistake";
        report.add(Finding::new("same-url", what, advice.into()).about(ids))?;
    }
    Ok(())
}

fn invalid(instance: &Instance, report: &mut Report<'_>) -> io::Result<()> {
    let Err(error) = instance.check() else { return Ok(()) };
    let id = instance.id().as_str().to_owned();
    let advice = "gosd would not have registered it, and libraries that send requests may refuse it: \
                  correct what wrote it";
    let what = format!("{id} is served as it is: {error}");
    report.add(Finding::new("invalid-record", what, advice.into()).about(vec![id]))
}

fn host_of(instance: &Instance) -> Option<&str> {
    target(instance.url()).map(|target| target.host)
}
