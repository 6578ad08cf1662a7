//! Findings from what the driver diagnosed: the clock, the leases, and problems of its kind of database.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use gosd::Fact;

use super::report::{Finding, Report, some_of};

/// The greatest difference between two clocks that is no finding.
const SKEW: Duration = Duration::from_secs(2);
/// The greatest such difference between two leases, because databases round them.
const ROUNDING: Duration = Duration::from_secs(1);

/// Checks what a driver diagnosed. `lease` is the lease of clients in this environment.
pub(super) fn check(
    facts: impl Iterator<Item = Fact>,
    lease: Duration,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let mut without_lease = Vec::new();
    let mut others: BTreeMap<String, String> = BTreeMap::new();
    for fact in facts {
        match fact {
            Fact::Clock { ahead_ms, within } => clock(ahead_ms, within, report)?,
            Fact::Trouble { name, what, advice } => report.add(Finding::new(name, what, advice))?,
            Fact::Unreadable { what } => report.add(Finding::new(
                "unreadable",
                format!("a record that every client skips: {what}"),
                "remove it, or correct what wrote it".into(),
            ))?,
            Fact::NoLease { id } => without_lease.push(id.as_str().to_owned()),
            // Drains and other records of gosd itself have leases of any length.
            Fact::Lease { id, at_least, at_most }
                if !id.as_str().starts_with("gosd.")
                    && (at_most + ROUNDING < lease || at_least > lease + ROUNDING) =>
            {
                let about = if at_least == at_most { "" } else { "about " };
                let text = format!("{about}{:.0?}", rounded(at_least));
                others.insert(id.as_str().to_owned(), text);
            }
            _ => {}
        }
    }
    if !without_lease.is_empty() {
        without_lease.sort_unstable();
        let what = format!(
            "{} without a lease, written by the Go library or by hand: {}",
            plural(without_lease.len()),
            some_of(&without_lease)
        );
        let advice = "it stays when its process is dead: check with --dial, and remove it with gosd deregister";
        report.add(Finding::new("no-lease", what, advice.into()).about(without_lease))?;
    }
    if !others.is_empty() {
        let shown: Vec<String> = others.iter().map(|(id, is)| format!("{id} {is}")).collect();
        let have = if others.len() == 1 { "has" } else { "have" };
        let what = format!(
            "{} {have} another lease than the {lease:?} of gosdLeaseTTL here: {}",
            plural(others.len()),
            some_of(&shown)
        );
        let advice = "give all clients of a namespace one gosdLeaseTTL, and this shell, too; what was \
                      registered by hand for a time ends by itself";
        let ids = others.into_keys().collect();
        report.add(Finding::new("lease", what, advice.into()).about(ids))?;
    }
    Ok(())
}

fn clock(ahead_ms: i64, within: Duration, report: &mut Report<'_>) -> io::Result<()> {
    let apart = Duration::from_millis(ahead_ms.unsigned_abs());
    if apart <= within + SKEW {
        return Ok(());
    }
    let where_to = if ahead_ms > 0 { "ahead of" } else { "behind" };
    report.add(Finding::new(
        "clock",
        format!(
            "the clock of the database is {} {where_to} this host's",
            crate::output::age(apart)
        ),
        "set both by NTP, and see which of them is wrong: leases use the database's, and the \
         ages of instances by their hosts'"
            .into(),
    ))
}

/// The lease in whole seconds, for a message.
fn rounded(lease: Duration) -> Duration {
    Duration::from_secs((lease.as_millis() + 500) as u64 / 1_000)
}

fn plural(count: usize) -> String {
    match count {
        1 => "1 instance".into(),
        count => format!("{count} instances"),
    }
}
