//! The counters of a client, for exporters of metrics.

use std::time::Duration;

use tokio::time::Instant;

use super::state::State;
use crate::registry::Standing;
use crate::{Change, Registration, View};

/// The counters of a client, and the size of its view; see [`Client::stats`](crate::Client::stats).
///
/// All counters begin at the start of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How long the view has been without contact: zero while it is fresh, `None` before the first read.
    pub view_age: Option<Duration>,
    /// Whether the client's own instance is registered, as far as known.
    pub registered: bool,
    /// The heartbeats, the first registration included.
    pub heartbeats: Counts,
    /// The reads of everything.
    pub reads: Counts,
    /// How often the watch was lost, and begun again.
    pub watch_restarts: u64,
    /// Instances that came into the view.
    pub added: u64,
    /// Instances in the view that changed.
    pub updated: u64,
    /// Instances that left the view by a goodbye or a deliberate deletion.
    pub removed: u64,
    /// Instances that left the view because their lease ran out, or because they had vanished.
    pub expired: u64,
    /// How often reports took an instance out of the rotation.
    pub ejections: u64,
    /// The services that have instances, sorted by name.
    pub services: Vec<ServiceStats>,
}

/// How often something succeeded, and how often it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// How often it succeeded.
    pub ok: u64,
    /// How often it failed.
    pub failed: u64,
}

/// The numbers of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceStats {
    /// The name of the service.
    pub name: String,
    /// How many instances are in the view, those out of rotation included.
    pub instances: usize,
    /// How many of them are ejected because of reports.
    pub ejected: usize,
    /// How many of them are drained by records in the registry.
    pub drained: usize,
    /// How many turns of the service were taken, by this client and all its handles. It starts again
    /// when the service comes back after it had no instances; the handles of
    /// [`service_where`](crate::Client::service_where) have turns of their own.
    pub picks: u64,
}

/// The counters behind the lock of the state.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) heartbeats: Counts,
    pub(super) reads: Counts,
    pub(super) watch_restarts: u64,
    added: u64,
    updated: u64,
    gone: u64,
}

impl Counts {
    pub(super) fn count(&mut self, succeeded: bool) {
        match succeeded {
            true => self.ok += 1,
            false => self.failed += 1,
        }
    }
}

impl Tally {
    pub(super) fn count(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Added(_) => self.added += 1,
                Change::Updated(_) => self.updated += 1,
                Change::Removed(_) => self.gone += 1,
                _ => {}
            }
        }
    }
}

impl State {
    pub(super) fn stats(&self) -> Stats {
        let status = self.status();
        let services = self.directory.sorted().into_iter().map(|(name, rotation)| {
            let count = |standing| rotation.places().list(standing).len();
            ServiceStats {
                name: name.to_string(),
                instances: rotation.places().len(),
                ejected: count(Standing::Ejected),
                drained: count(Standing::Drained),
                picks: rotation.turns().taken() as u64,
            }
        });
        let services = services.collect();
        let core = self.lock();
        let now = Instant::now();
        let view_age = match status.view {
            View::Unknown => None,
            View::Fresh => Some(Duration::ZERO),
            View::Stale { since, .. } => Some(now.into_std().saturating_duration_since(since)),
        };
        let expired = core.registry.expired();
        Stats {
            view_age,
            registered: matches!(status.registration, Registration::Registered),
            heartbeats: core.tally.heartbeats,
            reads: core.tally.reads,
            watch_restarts: core.tally.watch_restarts,
            added: core.tally.added,
            updated: core.tally.updated,
            removed: core.tally.gone.saturating_sub(expired),
            expired,
            ejections: core.registry.ejections(),
            services,
        }
    }
}
