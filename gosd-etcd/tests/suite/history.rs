//! What happened in a trial of a cluster, and whether it may have.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use gosd_core::InstanceId;
use tokio::time::Instant;

use super::support::PATIENCE;

/// How long a lease may outlive its end: two seconds, and two election timeouts.
const GRACE: Duration = Duration::from_secs(4);
/// What a busy machine may take on top of it to carry out what is due, and to tell.
const SLACK: Duration = Duration::from_secs(5);

/// What happened, by whom it was seen.
#[derive(Default)]
pub(crate) struct History(Mutex<Events>);

#[derive(Default)]
struct Events {
    /// When an instance died, or said goodbye.
    ended: HashMap<InstanceId, Instant>,
    /// When each observer last saw an instance.
    seen: HashMap<(&'static str, InstanceId), Instant>,
    /// When it was noticed that there was a new leader.
    leaders: Vec<Instant>,
    lookups: u64,
    failed_lookups: Vec<Instant>,
}

impl History {
    pub(crate) fn ended(&self, id: &InstanceId) {
        self.lock().ended.insert(id.clone(), Instant::now());
    }

    pub(crate) fn seen(&self, by: &'static str, id: &InstanceId, at: Instant) {
        self.lock().seen.insert((by, id.clone()), at);
    }

    pub(crate) fn new_leader(&self) {
        self.lock().leaders.push(Instant::now());
    }

    pub(crate) fn lookup(&self, found: bool) {
        let mut events = self.lock();
        events.lookups += 1;
        if !found {
            events.failed_lookups.push(Instant::now());
        }
    }

    /// Requires that no lookup failed, and that nobody saw an instance for too long after its end.
    pub(crate) fn judge(&self, lease: Duration, least: &Load) {
        let events = self.lock();
        let load = Load { lookups: events.lookups, ended: events.ended.len() };
        assert!(load.lookups >= least.lookups && load.ended >= least.ended, "too little: {load}");
        let failed = events.failed_lookups.len();
        assert_eq!(failed, 0, "{failed} of {} lookups failed", events.lookups);
        for ((by, id), seen) in &events.seen {
            let Some(ended) = events.ended.get(id) else { continue };
            // Every lease starts anew when there is a new leader.
            let leaders = events.leaders.iter().filter(|leader| *leader <= seen);
            let from = leaders.max().max(Some(ended)).expect("at least the end");
            let late = seen.saturating_duration_since(*from);
            assert!(late < lease + GRACE + SLACK, "{by} saw {id} {late:?} after its end");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().expect("nobody panics with it")
    }
}

/// How much went on.
pub(crate) struct Load {
    pub(crate) lookups: u64,
    pub(crate) ended: usize,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lookups, {} deaths and goodbyes", self.lookups, self.ended)
    }
}

/// Looks again and again until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(problem) = holds().await {
        assert!(Instant::now() < deadline, "{what}: {problem}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
