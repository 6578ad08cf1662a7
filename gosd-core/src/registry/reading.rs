//! Reads and snapshots: the conclusions from an answer that contains everything.

use std::collections::HashSet;

use tokio::time::Instant;

use super::contact::{GoodTime, Proof};
use super::{Effects, Registry};
use crate::rules::Rule;
use crate::{Instance, InstanceId};

/// A read in flight.
#[derive(Default)]
pub(super) struct Reading {
    /// The ids of events since the read began.
    touched: HashSet<InstanceId>,
    /// Whether a `Reset` came in between, which is no older than the read and is continued by events.
    superseded: bool,
    /// The own registration, which the read should contain.
    own: Option<InstanceId>,
    /// The good time when the read began. The answer may come late, and is perhaps no newer than this.
    began_at: GoodTime,
}

impl Reading {
    /// Records that a `Reset` has come.
    pub(super) fn supersede(&mut self) {
        self.superseded = Rule::ResetsSupersede.holds();
    }

    /// Records that an event concerned this instance.
    pub(super) fn touch(&mut self, id: &InstanceId) {
        if Rule::EventsGoBeforeReads.holds() {
            self.touched.insert(id.clone());
        }
    }
}

impl Registry {
    /// Records that a read of everything begins.
    pub(crate) fn begin_read(&mut self, now: Instant) {
        let (own, began_at) = (self.own.clone(), self.contact.good_time_by(now));
        self.reading = Some(Reading { own, began_at, ..Reading::default() });
    }

    /// Applies the result of the read; `None` if a newer `Reset` superseded it.
    pub(crate) fn finish_read(&mut self, all: Vec<Instance>, now: Instant) -> Option<Effects> {
        let reading = self.reading.take().unwrap_or_default();
        self.hear(Proof::Read, now);
        if reading.superseded {
            return None;
        }
        // A client that has left meanwhile has no own registration.
        let own = reading.own.filter(|_| self.own.is_some());
        // Contact may have been broken since, and then counts for less.
        let told_at = match Rule::LateAnswersAreOld.holds() {
            true => reading.began_at.min(self.contact.good_time()),
            false => self.contact.good_time(),
        };
        let own_gone = self.replace(all, &reading.touched, own.as_ref(), told_at, now);
        let knows_more = self.cover();
        Some(Effects { knows_more, ..self.publish(own_gone) })
    }

    /// Records that the read failed, which says nothing about the instances.
    pub(crate) fn abandon_read(&mut self) {
        self.reading = None;
        self.contact.interrupt();
    }

    /// Replaces what is known of the services that a snapshot is about by the snapshot, which is no newer than
    /// this good time. Returns whether the own registration is gone because of it.
    pub(super) fn replace(
        &mut self,
        all: Vec<Instance>,
        touched: &HashSet<InstanceId>,
        own: Option<&InstanceId>,
        told_at: GoodTime,
        now: Instant,
    ) -> bool {
        let lacks_own = own.is_some_and(|own| {
            !touched.contains(own) && all.iter().all(|instance| instance.id() != own)
        });
        if lacks_own {
            // This process lives, so the backend has lost its registration, and perhaps others.
            self.contact.note_writes(false, now);
        }
        self.known.begin_mark(all.len());
        // Asked once, because to remove something from an empty map takes the hash of its key as well.
        let is_any_missing = !self.missing.is_empty();
        for instance in all {
            let id = instance.id();
            if !self.scope.includes(instance.service()) {
                if !touched.contains(id) {
                    self.see_elsewhere(id);
                }
                continue;
            }
            if touched.contains(id) || self.locals.contains(id) {
                self.known.mark(id);
            } else {
                if is_any_missing {
                    self.missing.remove(id);
                }
                self.expiries.settle(id);
                self.known.put(instance);
            }
        }
        for id in self.known.unmarked() {
            if touched.contains(&id) || self.locals.contains(&id) || !self.is_about(&id) {
                continue;
            }
            match self.missing.get(&id) {
                _ if self.is_goodbye(&id) => self.drop_missing(&id),
                Some(since) if self.contact.rest(*since, told_at).is_zero() => {
                    self.count_expired(&id);
                    self.drop_missing(&id);
                }
                _ => self.miss(id),
            }
        }
        lacks_own
    }
}
