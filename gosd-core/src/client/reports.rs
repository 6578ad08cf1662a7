//! Reports of requests, and the return of ejected instances.

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

    /// When the next ejected instance is due to come back into rotation.
    pub(crate) fn next_readmission(&self) -> Option<Instant> {
        self.lock().registry.next_readmission()
    }

    /// Returns the instances to the rotation whose time is over.
    pub(crate) fn readmit_due(&self) {
        self.step_if_open(|registry, now| ((), registry.readmit_due(now)));
    }
}
