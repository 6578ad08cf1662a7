//! Checks the load of clients on a backend that is down, and that they release their resources.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::times::Times;
use super::{Finding, Terms};
use crate::history::{Event, History, Resources, When};

/// The most calls that one client may make in any second of a fault.
const MOST: usize = 15;
/// Calls that are this close together count as simultaneous.
const TOGETHER: Duration = Duration::from_millis(10);
/// For so long after the end of a fault the load is still checked.
const AFTERMATH: Duration = Duration::from_secs(5);
/// Memory in KiB that an allocator may keep.
const KEPT: usize = 32 * 1024;

/// From one time to another.
type Span = (Duration, Duration);

/// The load on a backend that is down, or has just come back, is bounded and spread over time.
///
/// During a fault not more than half of all calls may be of herds. What comes afterwards is one call or two of each
/// client, so there a single herd is one too many.
pub(super) fn bounded(history: &History, times: &Times<'_>, terms: &Terms) -> Finding {
    let until = times.ended + AFTERMATH;
    let mut attempts: Vec<(Duration, usize)> = Vec::new();
    let mut connections = Vec::new();
    let mut stalls = Vec::new();
    for (at, event) in history.iter().filter(|(at, _)| times.began <= *at && *at <= until) {
        match event {
            Event::Attempt { client } => attempts.push((*at, *client)),
            Event::Connected => connections.push(*at),
            Event::Stalled { lasted } => stalls.push((*at - *lasted, *at)),
            _ => {}
        }
    }
    let mut violations = Vec::new();
    let mut by_client: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    for (at, client) in &attempts {
        by_client.entry(*client).or_default().push(*at);
    }
    let mut most = 0;
    for (client, calls) in &by_client {
        let busiest = busiest_second(calls);
        most = most.max(busiest);
        if busiest > MOST {
            violations.push(format!("client {client} made {busiest} calls in a second"));
        }
    }
    let sockets = busiest_second(&connections);
    if sockets > MOST * terms.clients {
        violations.push(format!("{sockets} connections in a second"));
    }
    if !terms.frozen {
        let (during, after) =
            attempts.split_at(attempts.partition_point(|(at, _)| *at < times.ending));
        let (in_herds, all) = (in_herds(during, &stalls, terms.clients), during.len());
        if 2 * in_herds > all {
            violations.push(format!("{in_herds} of {all} calls came from most clients at once"));
        }
        let together = crowds(after, &stalls).map(|(_, clients)| clients).max().unwrap_or_default();
        if 2 * together > terms.clients {
            violations.push(format!("{together} clients called at once after the fault"));
        }
    }
    let span = (until - times.began).as_secs_f64() * terms.clients as f64;
    let mean = attempts.len() as f64 / span.max(1.0);
    (format!("{mean:.1}/s, at most {most}"), violations)
}

/// How many calls were made while more than half of the clients called.
fn in_herds(attempts: &[(Duration, usize)], stalls: &[Span], clients: usize) -> usize {
    let (mut calls, mut counted) = (0, 0);
    for (crowd, _) in crowds(attempts, stalls).filter(|(_, together)| 2 * together > clients) {
        calls += crowd.end - crowd.start.max(counted);
        counted = crowd.end;
    }
    calls
}

/// For each call the ones that were simultaneous with it or came right after, and how many clients made them.
///
/// When this process had stood still, what was due meanwhile came at once, whenever the clients meant to call.
fn crowds(
    attempts: &[(Duration, usize)],
    stalls: &[Span],
) -> impl Iterator<Item = (Range<usize>, usize)> {
    let stalled = |at: Duration| {
        stalls.iter().any(|(from, to)| *from <= at + TOGETHER && at <= *to + TOGETHER)
    };
    let begun = attempts.iter().enumerate().filter(move |(_, (began, _))| !stalled(*began));
    begun.map(|(first, (began, _))| {
        let last = attempts.partition_point(|(at, _)| *at <= *began + TOGETHER);
        let clients: BTreeSet<usize> =
            attempts[first..last].iter().map(|(_, client)| *client).collect();
        (first..last, clients.len())
    })
}

fn busiest_second(times: &[Duration]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in times.iter().enumerate() {
        while *at - times[first] > Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}

/// Tasks, sockets and memory return to their former counts.
pub(super) fn returned(history: &History, terms: &Terms) -> Finding {
    let at = |wanted: When| {
        history.iter().find_map(|(_, event)| match event {
            Event::Holds { when, resources } if *when == wanted => Some(*resources),
            _ => None,
        })
    };
    let counts = [When::Empty, When::Steady, When::Settled, When::Over].map(at);
    let [Some(empty), Some(steady), Some(settled), Some(over)] = counts else {
        return ("unknown".to_owned(), vec!["the resources were not counted".to_owned()]);
    };
    let mut violations = Vec::new();
    let mut compare = |name: &str, before: Resources, after: Resources| {
        for (what, before, after, slack) in [
            ("tasks", before.tasks, after.tasks, 0),
            ("sockets", before.sockets, after.sockets, 0),
            ("KiB of memory", before.memory, after.memory, KEPT),
        ] {
            if after > before + slack {
                violations.push(format!("{name}: {after} {what}, {before} before"));
            }
        }
    };
    let more = if terms.wanders { terms.clients } else { 0 };
    let away = Resources {
        // A connection has two tasks: one that drives it, and one that looks whether it is idle.
        tasks: steady.tasks + 2 * more,
        sockets: steady.sockets + more,
        ..steady
    };
    compare("after the fault", away, settled);
    // An allocator keeps the memory that clients had.
    compare("without clients", Resources { memory: settled.memory, ..empty }, over);
    let (tasks, sockets) = (settled.tasks, settled.sockets);
    (format!("{tasks} tasks, {sockets} sockets; then {}, {}", over.tasks, over.sockets), violations)
}
