//! Reads and snapshots: what is concluded from an answer that says everything there is.

use std::collections::HashSet;

use tokio::time::Instant;

use super::contact::{GoodTime, Proof};
use super::{Effects, Registry};
use crate::rules::Rule;
use crate::{Instance, InstanceId};

/// A read in flight.
#[derive(Default)]
pub(super) struct Reading {
    /// The ids that events have touched since it began.
    touched: HashSet<InstanceId>,
    /// A `Reset` came in between: it is no older than the read, and continued by events.
    superseded: bool,
    /// The own registration, which the read should hold.
    own: Option<InstanceId>,
    /// The good time when it began: its answer, which may come late, is perhaps no newer.
    began_at: GoodTime,
}

impl Reading {
    /// Notes that a `Reset` has come.
    pub(super) fn supersede(&mut self) {
        self.superseded = Rule::ResetsSupersede.holds();
    }

    /// Notes that an event has said something of this instance.
    pub(super) fn touch(&mut self, id: &InstanceId) {
        if Rule::EventsGoBeforeReads.holds() {
            self.touched.insert(id.clone());
        }
    }
}

impl Registry {
    /// Notes that a read of everything begins.
    pub(crate) fn begin_read(&mut self, now: Instant) {
        let (own, began_at) = (self.own.clone(), self.contact.good_time_by(now));
        self.reading = Some(Reading { own, began_at, ..Reading::default() });
    }

    /// Applies what the read found; `None` if a newer `Reset` superseded it.
    pub(crate) fn finish_read(&mut self, all: Vec<Instance>, now: Instant) -> Option<Effects> {
        let reading = self.reading.take().unwrap_or_default();
        self.contact.hear(Proof::Read, now);
        if reading.superseded {
            return None;
        }
        // A client that has left meanwhile has none.
        let own = reading.own.filter(|_| self.own.is_some());
        // Contact may have been broken since, and counts for less.
        let told_at = match Rule::LateAnswersAreOld.holds() {
            true => reading.began_at.min(self.contact.good_time()),
            false => self.contact.good_time(),
        };
        let own_gone = self.replace(all, &reading.touched, own.as_ref(), told_at, now);
        Some(self.publish(own_gone))
    }

    /// Notes that the read failed: it tells nothing of the instances.
    pub(crate) fn abandon_read(&mut self) {
        self.reading = None;
        self.contact.interrupt();
    }

    /// Takes over a snapshot of everything, which is as old as this good time at the most; returns
    /// whether the own registration is gone by it.
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
        for instance in all {
            let id = instance.id();
            if touched.contains(id) || self.locals.contains(id) {
                self.known.mark(id);
            } else {
                self.missing.remove(id);
                self.known.put(instance);
            }
        }
        for id in self.known.unmarked() {
            if touched.contains(&id) || self.locals.contains(&id) {
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
