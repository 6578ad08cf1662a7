//! Expiries: which of them are believed, and the time in which the owner can show that one is wrong.
//!
//! A database may take the lease of an instance that lives: a leader of etcd that was paused revokes, when it
//! wakes up, what it could not see renewed meanwhile. The owner hears of that as everybody else does, and
//! registers at once. So nobody drops the instance before the owner has had the time to do so.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Effects, Registry};
use crate::InstanceId;
use crate::rules::Rule;

/// No owner gets more time than this, so that the dead are soon gone.
const LONGEST: Duration = Duration::from_millis(500);

/// How long an expired instance is shown at most, while its owner may register it again.
pub(crate) fn grace(lease: Duration) -> Duration {
    LONGEST.min(lease / 6)
}

/// The instances whose owners may still register them again.
#[derive(Default)]
pub(super) struct Expiries {
    /// When the time of each owner is over.
    due_at: HashMap<InstanceId, Instant>,
}

impl Expiries {
    /// Forgets an instance that is back, or gone for another reason.
    pub(super) fn settle(&mut self, id: &InstanceId) {
        // Nearly always there is none, and then the hash of the id is not needed.
        if !self.due_at.is_empty() {
            self.due_at.remove(id);
        }
    }

    pub(super) fn contains(&self, id: &InstanceId) -> bool {
        self.due_at.contains_key(id)
    }
}

impl Registry {
    /// Applies an expiry. Returns whether it is the own registration that expired.
    pub(super) fn expire(&mut self, id: InstanceId, now: Instant) -> bool {
        self.touch(&id);
        if self.own.as_ref() == Some(&id) {
            // This process is alive, so the backend refused its heartbeats, or took its lease by mistake.
            self.contact.note_writes(false, now);
            self.own_expired = true;
            self.miss_expired(id);
            return true;
        }
        // Nobody renews a drain.
        if self.is_drain(&id) {
            self.remove(&id);
        } else if self.contact.believes_expiry(now) && self.is_shared(&id) {
            let due_at = now + self.time_to_object();
            self.expiries.due_at.entry(id).or_insert(due_at);
            if due_at <= now {
                self.drop_due(now);
            }
        } else {
            self.miss_expired(id);
        }
        false
    }

    /// When the time of the next owner is over.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.due_at.values().min().copied()
    }

    /// Drops the expired instances whose owners did not register them again in time.
    pub(crate) fn drop_expired(&mut self, now: Instant) -> Effects {
        self.drop_due(now);
        self.publish(false)
    }

    /// Whether the own registration is gone because its lease is.
    pub(crate) fn own_has_expired(&self) -> bool {
        self.own_expired
    }

    fn drop_due(&mut self, now: Instant) {
        if self.next_expiry().is_none_or(|at| now < at) {
            return;
        }
        let due: Vec<_> = self.expiries.due_at.extract_if(|_, at| *at <= now).collect();
        for (id, _) in due {
            if self.contact.believes_expiry(now) {
                self.count_expired(&id);
                self.drop_missing(&id);
            } else {
                // Contact was broken meanwhile, so the owner may have registered again unheard.
                self.miss_expired(id);
            }
        }
    }

    /// Keeps an expired instance until its absence proves that it is dead.
    fn miss_expired(&mut self, id: InstanceId) {
        self.miss_since(id, self.contact.missing_since(self.time_to_object()));
    }

    fn time_to_object(&self) -> Duration {
        if Rule::OwnersMayObject.holds() { grace(self.contact.lease()) } else { Duration::ZERO }
    }

    /// Whether an instance is known from the backend.
    fn is_shared(&self, id: &InstanceId) -> bool {
        self.known.contains(id) && !self.locals.contains(id)
    }
}
