//! What requests came to, and when those that failed are tried again.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::state::State;
use crate::{InstanceId, Outcome};

impl State {
    /// Notes how a request to an instance went.
    pub(crate) fn report(&self, id: &InstanceId, outcome: Outcome) {
        // Nearly always nothing speaks against anybody, and then an answer costs no lock.
        if outcome != Outcome::Answered || self.is_anybody_failing.load(Ordering::Relaxed) {
            self.step_if_open(|registry, now| ((), registry.report(id, outcome, now)));
        }
    }

    /// When the next ejected instance is due to come back into rotation.
    pub(crate) fn next_readmission(&self) -> Option<Instant> {
        self.lock().registry.next_readmission()
    }

    /// Has those back into rotation whose time is over.
    pub(crate) fn readmit_due(&self) {
        self.step_if_open(|registry, now| ((), registry.readmit_due(now)));
    }
}
