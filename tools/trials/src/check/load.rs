//! Checks the load of clients on a backend that is down, and that they release their resources.

use std::collections::{BTreeMap, BTreeSet};
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

/// The load on a backend that is down, or has just come back, is bounded and spread over time.
pub(super) fn bounded(history: &History, times: &Times<'_>, terms: &Terms) -> Finding {
    let until = times.ended + AFTERMATH;
    let mut attempts: Vec<(Duration, usize)> = Vec::new();
    let mut connections = Vec::new();
    for (at, event) in history.iter().filter(|(at, _)| times.began <= *at && *at <= until) {
        match event {
            Event::Attempt { client } => attempts.push((*at, *client)),
            Event::Connected => connections.push(*at),
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
    let herd = herd(&attempts, terms.clients);
    if 2 * herd > attempts.len() && !attempts.is_empty() && !terms.frozen {
        let all = attempts.len();
        violations.push(format!("{herd} of {all} calls came from most clients at once"));
    }
    let span = (until - times.began).as_secs_f64() * terms.clients as f64;
    let mean = attempts.len() as f64 / span.max(1.0);
    (format!("{mean:.1}/s, at most {most}"), violations)
}

/// The greatest number of clients whose calls were simultaneous.
fn herd(attempts: &[(Duration, usize)], clients: usize) -> usize {
    let mut together: BTreeMap<u128, Vec<usize>> = BTreeMap::new();
    for (at, client) in attempts {
        together.entry(at.as_millis() / TOGETHER.as_millis()).or_default().push(*client);
    }
    let is_herd = |calls: &&Vec<usize>| 2 * calls.iter().collect::<BTreeSet<_>>().len() > clients;
    together.values().filter(is_herd).map(Vec::len).sum()
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
