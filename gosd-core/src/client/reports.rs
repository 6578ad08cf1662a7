//! Reports of requests, and what the view does by itself later: ejected instances return, expired ones go.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::state::State;
use crate::{InstanceId, Outcome};

impl State {
    /// Records how a request to an instance went.
    pub(crate) fn report(&self, id: &InstanceId, outcome: Outcome) {
        // Nearly always no instance has failures, and then the report of an answer takes no lock.
        if outcome != Outcome::Answered || self.is_anybody_failing.load(Ordering::Relaxed) {
            self.step_if_open(|registry, now| ((), registry.report(id, outcome, now)));
        }
    }

    /// When the view next has something to do by itself.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let core = self.lock();
        let times = [core.registry.next_readmission(), core.registry.next_expiry()];
        times.into_iter().flatten().min()
    }

    /// Returns the instances to the rotation whose time out of it is over, and drops the expired instances whose
    /// owners did not object in time.
    pub(crate) fn do_what_is_due(&self) {
        self.step_if_open(|registry, now| ((), registry.readmit_due(now)));
        self.step_if_open(|registry, now| ((), registry.drop_expired(now)));
    }
}
