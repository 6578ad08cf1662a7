//! Which instances are out of rotation: those that records in the registry drain, and those that failed
//! requests of this process eject.

use std::sync::Arc;

use tokio::time::Instant;

use super::ejection::{Census, Outcome, Verdict};
use super::rotation::Standing;
use super::{Effects, Registry};
use crate::contract::DRAIN;
use crate::{Change, Instance, InstanceId, limits};

impl Registry {
    /// Records how a request to an instance went.
    pub(crate) fn report(&mut self, id: &InstanceId, outcome: Outcome, now: Instant) -> Effects {
        let Some(instance) = self.known.get(id).cloned() else { return Effects::default() };
        if outcome == Outcome::Answered {
            self.ejection.answered(id, instance.service());
            self.place(id);
            return self.publish(false);
        }
        if self.known.standing(id) != Some(Standing::InRotation) {
            // The instance was chosen before it went out of rotation.
            return Effects::default();
        }
        let places = self.known.places(instance.service());
        let census = Census {
            in_rotation: places.in_rotation().len(),
            ejected: places.list(Standing::Ejected).len(),
        };
        let service = instance.shared_service();
        match self.ejection.failed(id, service, outcome, census, now) {
            Verdict::Stays => return Effects::default(),
            Verdict::Ejected => self.place(id),
            Verdict::CutOff => {
                for instance in places.list(Standing::Ejected).iter() {
                    self.place(instance.id());
                }
            }
        }
        self.publish(false)
    }

    /// Whether any instance has failures, so that an answer may change something.
    pub(crate) fn is_anybody_failing(&self) -> bool {
        !self.ejection.is_idle()
    }

    /// How many ejections there have been.
    pub(crate) fn ejections(&self) -> u64 {
        self.ejection.total()
    }

    /// When the next ejected instance is due to come back.
    pub(crate) fn next_readmission(&self) -> Option<Instant> {
        self.ejection.next_at()
    }

    /// Returns the instances to the rotation whose time is over.
    pub(crate) fn readmit_due(&mut self, now: Instant) -> Effects {
        let due = self.ejection.readmit_due(now);
        self.readmit(due)
    }

    /// Returns all ejected instances to the rotation, because after a shutdown nothing else would.
    pub(crate) fn readmit_all(&mut self) -> Effects {
        let all = self.ejection.readmit_all();
        self.readmit(all)
    }

    fn readmit(&mut self, ids: Vec<InstanceId>) -> Effects {
        for id in ids {
            self.place(&id);
        }
        self.publish(false)
    }

    /// What a reader who knows nothing has to be told: a `Reset`, and then who of it is out of rotation.
    /// Reserved services are left out.
    pub(crate) fn whole(&self) -> Vec<Change> {
        let told = || self.known.standings().filter(|(it, _)| !limits::is_reserved(it.service()));
        let all = told().map(|(it, _)| Arc::clone(it)).collect();
        let out = told().filter(|(_, standing)| *standing != Standing::InRotation);
        let out = out.map(|(it, standing)| change_of(standing, Arc::clone(it)));
        std::iter::once(Change::Reset(all)).chain(out).collect()
    }

    /// Moves instances into and out of the rotation, as the changes since the last call require.
    ///
    /// While nobody is drained and no request fails, it does nothing for any instance.
    pub(super) fn settle(&mut self) {
        let drains_changed = self.known.has_draft(DRAIN);
        if !drains_changed && self.drained.is_empty() && self.ejection.is_idle() {
            return;
        }
        let changes = self.known.changes().iter().filter_map(|change| match change {
            Change::Added(it) | Change::Updated(it) | Change::Removed(it) => Some(it),
            _ => None,
        });
        let changed: Vec<Arc<Instance>> = changes.cloned().collect();
        for instance in &changed {
            // The record has changed, so failures of the old one do not count any more.
            self.ejection.forget(instance.id());
            if let Some(target) = drains_changed.then(|| instance.id().drained()).flatten() {
                match self.is_drain(instance.id()) {
                    true => self.drained.insert(target.clone()),
                    false => self.drained.remove(&target),
                };
                self.place(&target);
            }
            self.place(instance.id());
        }
        if changed.is_empty() {
            return;
        }
        // Of all services, because an instance that moved names only the service that it moved to.
        for service in self.ejection.services() {
            let places = self.known.places(&service);
            if places.in_rotation().len() == 0 {
                // If the last instance in rotation has left, those that failed are better than none.
                self.ejection.forget_service(&service);
                for ejected in places.list(Standing::Ejected).iter() {
                    self.place(ejected.id());
                }
            }
        }
    }

    /// Whether a snapshot shows that an instance it lacks has said goodbye: the snapshot contains a drain of
    /// the instance, which was its announcement. Where changes are polled, nothing else shows a goodbye.
    ///
    /// For a drain itself, its absence is its end, because nobody renews it, and the instance that it drained
    /// may be alive.
    pub(super) fn is_goodbye(&self, id: &InstanceId) -> bool {
        if self.is_drain(id) {
            return true;
        }
        if self.drained.is_empty() && !self.known.has_draft(DRAIN) {
            return false;
        }
        let drain = id.of_drain();
        self.known.is_marked(&drain) && self.is_drain(&drain)
    }

    pub(super) fn is_drain(&self, id: &InstanceId) -> bool {
        self.known.get(id).is_some_and(|instance| instance.service() == DRAIN)
    }

    /// Puts an instance into the list where it belongs.
    fn place(&mut self, id: &InstanceId) {
        let standing = match () {
            () if self.drained.contains(id) => {
                self.ejection.forget(id);
                Standing::Drained
            }
            () if self.ejection.is_ejected(id) => Standing::Ejected,
            () => Standing::InRotation,
        };
        if let Some(instance) = self.known.set_standing(id, standing) {
            self.known.tell(change_of(standing, instance));
        }
    }
}

/// The change that tells where an instance now stands.
fn change_of(standing: Standing, instance: Arc<Instance>) -> Change {
    match standing {
        Standing::InRotation => Change::Readmitted(instance),
        Standing::Ejected => Change::Ejected(instance),
        Standing::Drained => Change::Drained(instance),
    }
}
