//! Checks that lookups of a living service never fail.

use super::Finding;
use super::times::Times;
use crate::history::{Event, History};

/// A lookup never fails for a service that has had a live instance throughout.
pub(super) fn found(history: &History, times: &Times<'_>) -> Finding {
    let mut lookups = 0;
    let mut violations = Vec::new();
    for (at, event) in history {
        let Event::Lookup { client, service, found } = event else { continue };
        if *at < times.ready {
            continue;
        }
        lookups += 1;
        let alive = times.lives.iter().find(|(_, life)| {
            life.service == service
                && life.started <= times.ready
                && life.ends().is_none_or(|ends| ends > *at)
        });
        if let (false, Some((id, _))) = (found, alive) {
            violations.push(format!(
                "at {at:.1?} client {client} did not find {service}: {id} was alive"
            ));
        }
    }
    if lookups == 0 {
        violations.push("nobody looked anything up".to_owned());
    }
    (format!("{} of {lookups} failed", violations.len()), violations)
}
