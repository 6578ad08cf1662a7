//! The history of a trial of a cluster, and the check of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use gosd_core::InstanceId;
use tokio::time::Instant;

use super::support::PATIENCE;

/// How long a lease may outlive its end: two seconds, and two election timeouts.
const GRACE: Duration = Duration::from_secs(4);
/// How long a busy machine may take in addition, to act and to report.
const SLACK: Duration = Duration::from_secs(5);

/// The events of a trial, and who observed them.
#[derive(Default)]
pub(crate) struct History(Mutex<Events>);

#[derive(Default)]
struct Events {
    /// When an instance died, or said goodbye.
    ended: HashMap<InstanceId, Instant>,
    /// When each observer saw an instance for the last time before each new leader, and at all.
    seen: HashMap<(&'static str, InstanceId, usize), Instant>,
    /// When a new leader was noticed.
    leaders: Vec<Instant>,
    lookups: u64,
    failed_lookups: u64,
}

impl History {
    pub(crate) fn ended(&self, id: &InstanceId) {
        self.lock().ended.insert(id.clone(), Instant::now());
    }

    pub(crate) fn seen(&self, by: &'static str, id: &InstanceId, at: Instant) {
        let mut events = self.lock();
        let leader = events.leaders.len();
        events.seen.insert((by, id.clone(), leader), at);
    }

    pub(crate) fn new_leader(&self) {
        self.lock().leaders.push(Instant::now());
    }

    pub(crate) fn lookup(&self, found: bool) {
        let mut events = self.lock();
        events.lookups += 1;
        events.failed_lookups += u64::from(!found);
    }

    /// Requires that enough happened, that no lookup failed, and that no observer saw an instance for too
    /// long after its end.
    pub(crate) fn judge(&self, lease: Duration, least: &Load) -> Result<(), String> {
        let events = self.lock();
        let load = Load {
            lookups: events.lookups,
            ended: events.ended.len(),
            leaders: events.leaders.len(),
        };
        if load.lookups < least.lookups || load.ended < least.ended || load.leaders < least.leaders
        {
            return Err(format!("too little went on: {load}"));
        }
        if events.failed_lookups > 0 {
            return Err(format!("{} of {} lookups failed", events.failed_lookups, events.lookups));
        }
        for ((by, id, leader), seen) in &events.seen {
            let Some(ended) = events.ended.get(id) else { continue };
            // A new leader restarts every lease.
            let anew = leader.checked_sub(1).map(|last| &events.leaders[last]);
            let from = anew.max(Some(ended)).expect("at least the end");
            let late = seen.saturating_duration_since(*from);
            if late >= lease + GRACE + SLACK {
                return Err(format!("{by} saw {id} {late:?} after its end"));
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().expect("nobody panics with it")
    }
}

/// How much happened in the trial.
pub(crate) struct Load {
    pub(crate) lookups: u64,
    pub(crate) ended: usize,
    pub(crate) leaders: usize,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lookups, ended, leaders } = self;
        write!(f, "{lookups} lookups, {ended} deaths and goodbyes, {leaders} leaders")
    }
}

/// Polls until a condition holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(problem) = holds().await {
        assert!(Instant::now() < deadline, "{what}: {problem}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);
    const NOTHING: Load = Load { lookups: 0, ended: 0, leaders: 0 };

    /// Ends an instance, lets it be seen again after each of the pauses, and has a new leader between them.
    async fn judged(pauses: &[u64]) -> Result<(), String> {
        let history = History::default();
        let id = InstanceId::from("a");
        history.seen("user", &id, Instant::now());
        history.ended(&id);
        for (n, pause) in pauses.iter().enumerate() {
            if n > 0 {
                history.new_leader();
            }
            tokio::time::sleep(Duration::from_secs(*pause)).await;
            history.seen("user", &id, Instant::now());
        }
        history.judge(LEASE, &NOTHING)
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_seen_too_long_after_its_end_is_reported() {
        assert_eq!(judged(&[11]).await, Ok(()));
        assert_eq!(judged(&[12]).await.unwrap_err(), "user saw a 12s after its end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_excuses_only_what_comes_after_it() {
        assert_eq!(judged(&[11, 11, 11]).await, Ok(()));
        for late in [[12, 1, 1], [1, 12, 1], [1, 1, 12]] {
            assert_eq!(
                judged(&late).await.unwrap_err(),
                "user saw a 12s after its end",
                "{late:?}"
            );
        }
    }

    #[test]
    fn a_failed_lookup_is_reported() {
        let history = History::default();
        history.lookup(true);
        assert_eq!(history.judge(LEASE, &NOTHING), Ok(()));
        history.lookup(false);
        assert_eq!(history.judge(LEASE, &NOTHING).unwrap_err(), "1 of 2 lookups failed");
    }

    #[test]
    fn a_trial_in_which_too_little_happened_is_reported() {
        let history = History::default();
        for (lookups, ended, leaders) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            let least = Load { lookups, ended, leaders };
            assert!(history.judge(LEASE, &least).unwrap_err().contains("too little"), "{least}");
        }
    }
}
