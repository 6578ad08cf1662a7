//! Checks which instances are in the clients' views and in the backend.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::times::Times;
use super::{Finding, GRACE, SLACK, Terms, seconds};
use crate::history::{Event, History, Ids};

/// Once the fault is over, every client agrees with the backend and the truth.
pub(super) fn agreed(history: &History, times: &Times<'_>, terms: &Terms) -> Finding {
    let mut violations = Vec::new();
    let mut last_wrong = times.quiet;
    // The backend's list has to agree too, and is the entry `None`.
    let mut unheard: BTreeSet<Option<usize>> = (0..terms.clients).map(Some).chain([None]).collect();
    for (at, event) in history.iter().filter(|(at, _)| *at >= times.quiet) {
        let (client, ids) = match event {
            Event::View { client, ids } => (Some(*client), ids),
            Event::Listed { ids } => (None, ids),
            _ => continue,
        };
        if *ids != times.truth {
            last_wrong = *at;
            // Who settles may have the dead for longer, but lacks nobody.
            let is_settling = client.is_some_and(|client| times.is_settling(client, *at))
                && ids.is_superset(&times.truth);
            if *at > times.due && !is_settling {
                let difference = difference(ids, &times.truth);
                violations.push(format!("at {at:.1?} {} still has {difference}", who(client)));
            }
        } else if *at > times.due {
            unheard.remove(&client);
        }
    }
    if violations.is_empty() {
        violations.extend(unheard.iter().map(|client| format!("{} never agreed", who(*client))));
    }
    (seconds(last_wrong - times.quiet), violations)
}

/// A killed instance soon leaves every rotation.
pub(super) fn dropped(history: &History, times: &Times<'_>, terms: &Terms) -> Finding {
    let within = terms.lease + GRACE + terms.poll();
    let mut contacts: BTreeMap<usize, Duration> = BTreeMap::new();
    for (at, event) in history {
        if let Event::Contact { client, fresh: true } = event {
            contacts.insert(*client, *at);
        }
    }
    let mut longest = Duration::ZERO;
    let mut violations = Vec::new();
    for (at, event) in history {
        let Event::View { client, ids } = event else { continue };
        for id in ids {
            let Some(killed) = times.lives.get(&**id).and_then(|life| life.killed) else {
                continue;
            };
            let contact = contacts.get(client).copied().unwrap_or_default();
            let known = times.known(killed, within);
            let since = if times.is_seen(killed, within) { known } else { known.max(contact) };
            let kept = at.saturating_sub(since);
            longest = longest.max(kept);
            if kept > within + SLACK && !times.is_settling(*client, *at) {
                let kept = seconds(kept);
                violations.push(format!("at {at:.1?} client {client} has {id} for {kept}"));
            }
        }
    }
    (seconds(longest), violations)
}

/// An instance that left never comes back, and a killed one not for longer than a lease.
pub(super) fn gone(history: &History, times: &Times<'_>, terms: &Terms) -> Finding {
    let within = terms.lease + GRACE;
    let mut back = Ids::new();
    let mut violations = Vec::new();
    let mut present: BTreeSet<(Option<usize>, &str)> = BTreeSet::new();
    let mut absent = present.clone();
    for (at, event) in history {
        let (client, ids) = match event {
            Event::View { client, ids } => (Some(*client), ids),
            Event::Listed { ids } => (None, ids),
            _ => continue,
        };
        for (id, life) in &times.lives {
            let here = (client, *id);
            let is_here = ids.contains(*id);
            if is_here {
                present.insert(here);
            } else if present.contains(&here) {
                absent.insert(here);
            }
            let latest = |ended| times.known(ended, within) + within + SLACK;
            let (ended, forgiven) = match (life.left, life.killed) {
                (Some(left), _) if terms.rewound => (left, latest(left)),
                (Some(left), _) => (left, Duration::ZERO),
                (None, Some(killed)) => (killed, latest(killed)),
                (None, None) => continue,
            };
            if *at <= ended || !is_here {
                continue;
            }
            // A client may learn of the end later, but the backend has received it.
            let is_told = client.is_none() && (life.left.is_some() || *at > forgiven);
            if is_told || absent.contains(&here) {
                back.insert((*id).to_owned());
                if *at > forgiven {
                    let who = who(client);
                    violations.push(format!("at {at:.1?} {who} has {id}, gone at {ended:.1?}"));
                }
            }
        }
    }
    (format!("{} came back", back.len()), violations)
}

/// Every live instance is listed again.
pub(super) fn listed(history: &History, times: &Times<'_>) -> Finding {
    let mut last_missing = times.ended;
    let mut violations = Vec::new();
    let mut is_heard = false;
    for (at, event) in history.iter().filter(|(at, _)| *at >= times.ended) {
        let Event::Listed { ids } = event else { continue };
        is_heard |= *at > times.due;
        if let Some(id) = times.truth.difference(ids).next() {
            last_missing = *at;
            if *at > times.due {
                violations.push(format!("at {at:.1?} the backend does not list {id}"));
            }
        }
    }
    if !is_heard {
        violations.push("the backend was not asked in the end".to_owned());
    }
    (seconds(last_missing - times.ended), violations)
}

fn who(client: Option<usize>) -> String {
    client.map_or("the backend".to_owned(), |client| format!("client {client}"))
}

fn difference(ids: &Ids, truth: &Ids) -> String {
    let too_many: Vec<&String> = ids.difference(truth).collect();
    let missing: Vec<&String> = truth.difference(ids).collect();
    format!("{too_many:?} too many, {missing:?} missing")
}
