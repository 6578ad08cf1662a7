//! The registry cache: the client's view, fed by events and reads.
//!
//! This is a plain state machine without I/O and tasks. The time is passed in.

mod aside;
mod budget;
mod contact;
mod directory;
mod ejection;
mod expiry;
mod known;
mod locals;
mod older;
mod picker;
mod reading;
mod recent;
mod rotation;
mod scope;
mod selection;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::budget::Budget;
use self::contact::{Contact, GoodTime, Proof};
pub(crate) use self::directory::{Directory, NO_VERSION, Services};
use self::ejection::Ejection;
pub use self::ejection::Outcome;
use self::expiry::Expiries;
pub(crate) use self::expiry::grace;
use self::known::Known;
use self::older::Older;
pub(crate) use self::picker::Picker;
use self::reading::Reading;
pub(crate) use self::rotation::{Rotation, Standing};
pub(crate) use self::scope::Scope;
pub(crate) use self::selection::Selection;
pub(crate) use self::slots::Slots;
use crate::rules::Rule;
use crate::{Change, Error, Event, Instance, InstanceId, Settings, View, limits};

pub(crate) struct Registry {
    known: Known,
    /// Entries of this process alone, which no event or read touches.
    locals: HashSet<InstanceId>,
    /// The ids of local entries, by service and URL.
    locals_at: HashMap<(String, String), InstanceId>,
    /// Instances that vanished and are kept, each with the good time at which it was first missed.
    missing: HashMap<InstanceId, GoodTime>,
    expiries: Expiries,
    contact: Contact,
    /// The targets of all drains, whether or not they are registered.
    drained: HashSet<InstanceId>,
    ejection: Ejection,
    /// How many of the instances shown to readers have gone without a goodbye.
    expired: u64,
    /// The read in flight.
    reading: Option<Reading>,
    /// The services that the answer at hand is about. It says nothing of others.
    scope: Arc<Scope>,
    /// The services that answers so far were about.
    covered: Scope,
    older: Older,
    /// This client's own registration, from when it has succeeded until the client leaves.
    own: Option<InstanceId>,
    /// Whether the own registration is gone because its lease is.
    own_expired: bool,
}

/// The effects of a step, for those that have to learn of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) changes: Vec<Change>,
    /// The own registration is gone from the backend, and has to be made again.
    pub(crate) own_gone: bool,
    /// An answer was about further services.
    pub(crate) knows_more: bool,
}

impl Registry {
    pub(crate) fn new(settings: &Settings, directory: Arc<Directory>) -> Self {
        Self {
            known: Known::new(directory),
            locals: HashSet::new(),
            locals_at: HashMap::new(),
            missing: HashMap::new(),
            expiries: Expiries::default(),
            contact: Contact::new(settings.lease_ttl),
            drained: HashSet::new(),
            ejection: Ejection::new(settings.eject_after, settings.eject_for),
            expired: 0,
            reading: None,
            scope: Arc::new(Scope::Everything),
            covered: match settings.watch_on_demand {
                true => Scope::Only(BTreeSet::new()),
                false => Scope::Everything,
            },
            older: Older::new(settings),
            own: None,
            own_expired: false,
        }
    }

    /// Sets which services the next events or the next read are about.
    pub(crate) fn listen_to(&mut self, scope: Arc<Scope>) {
        self.scope = scope;
    }

    /// Whether any answer was about this service. Until then, that there is no instance means nothing.
    pub(crate) fn covers(&self, service: &str) -> bool {
        self.covered.includes(service)
    }

    /// Applies the events of a watch in order. Readers see all of them at once.
    pub(crate) fn apply(&mut self, events: Vec<Event>, now: Instant) -> Effects {
        let (mut own_gone, mut knows_more) = (false, false);
        for event in events {
            self.hear(Proof::Item, now);
            if let Event::Reset(_) = event {
                self.contact.begin_anew(now);
                knows_more |= self.cover();
            }
            own_gone |= self.step(event, now);
        }
        Effects { knows_more, ..self.publish(own_gone) }
    }

    /// Applies events of a watch that failed right behind them, as a watch over two databases does while one
    /// is away. The events count, but do not prove contact.
    pub(crate) fn apply_in_part(&mut self, events: Vec<Event>, now: Instant) -> Effects {
        let mut own_gone = false;
        self.contact.hear_in_part(now);
        self.older.is_beside_a_part = true;
        for event in events {
            own_gone |= self.step(event, now);
        }
        self.publish(own_gone)
    }

    /// Applies one event. Returns whether the own registration is gone because of it.
    fn step(&mut self, event: Event, now: Instant) -> bool {
        match event {
            Event::Reset(all) => {
                if let Some(reading) = &mut self.reading {
                    reading.supersede();
                }
                let own = self.own.clone();
                let told_at = self.contact.good_time();
                self.replace(all, &HashSet::new(), own.as_ref(), told_at, now)
            }
            Event::Put(instance) if self.scope.includes(instance.service()) => {
                self.put(instance);
                false
            }
            Event::Put(instance) => {
                self.see_elsewhere(instance.id());
                false
            }
            Event::Remove(id) => {
                match Rule::GoodbyesCount.holds() {
                    true => self.remove(&id),
                    false => self.miss(id.clone()),
                }
                self.own.as_ref() == Some(&id)
            }
            Event::Expire(id) => self.expire(id, now),
            Event::Resumed => false,
        }
    }

    /// Records evidence of contact with the whole backend.
    fn hear(&mut self, proof: Proof, now: Instant) {
        self.contact.hear(proof, now);
        self.older = Older::default();
    }

    /// Records the loss of contact.
    pub(crate) fn lose_contact(&mut self, error: Error, now: Instant) {
        self.contact.lose(error, now);
    }

    /// Notes that this process runs; returns whether it stood still and has to look again.
    pub(crate) fn wake(&mut self, now: Instant, drift: Duration) -> bool {
        self.known.free_old_views();
        let stood_still = self.contact.wake(now, drift);
        if !Rule::OnlyAnswersCount.holds() {
            self.hear(Proof::Read, now);
        }
        if stood_still && self.own.is_some() {
            // The lease of the own registration may have run out meanwhile.
            self.contact.note_writes(false, now);
        }
        stood_still
    }

    /// Since when this process has stood still, if it does.
    pub(crate) fn idle_since(&self, now: Instant) -> Option<Instant> {
        self.contact.idle_since(now)
    }

    /// How much good time the first of the missing has left, if something is missing.
    pub(crate) fn rest_of_the_missing(&self) -> Option<Duration> {
        let now = self.contact.good_time();
        self.missing.values().map(|since| self.contact.rest(*since, now)).min()
    }

    /// The service of an instance.
    pub(crate) fn service_of(&self, id: &InstanceId) -> Option<&str> {
        self.known.get(id).map(|instance| instance.service())
    }

    /// The URL under which the backend holds this id, as far as known.
    pub(crate) fn url_of(&self, id: &InstanceId) -> Option<&str> {
        let instance = self.known.get(id).filter(|_| !self.has_vanished(id));
        instance.map(|instance| instance.url())
    }

    /// Records that the own registration has succeeded, and shows it without waiting for the event.
    pub(crate) fn registered(&mut self, instance: &Instance, now: Instant) -> Effects {
        self.contact.note_writes(true, now);
        self.own = Some(instance.id().clone());
        self.own_expired = false;
        self.put(instance.clone());
        self.publish(false)
    }

    /// Records that the own heartbeat failed, so that the backend may be refusing writes.
    pub(crate) fn registration_failed(&mut self, now: Instant) {
        self.contact.note_writes(false, now);
    }

    /// Records that the own registration is no longer renewed.
    pub(crate) fn disown(&mut self, now: Instant) {
        self.own = None;
        self.own_expired = false;
        self.contact.note_writes(true, now);
    }

    /// Removes an instance that this client has deregistered, without waiting for the event.
    pub(crate) fn deregistered(&mut self, id: &InstanceId) -> Effects {
        self.remove(id);
        let own_gone = self.own.as_ref() == Some(id);
        self.publish(own_gone)
    }

    /// Whether the own registration may be gone: it was seen to be absent, or this process stood still for
    /// longer than its lease.
    pub(crate) fn own_is_gone(&self) -> bool {
        self.own.as_ref().is_some_and(|id| {
            !self.known.contains(id)
                || self.missing.contains_key(id)
                || !self.contact.takes_writes()
        })
    }

    /// How many of the instances shown to readers have gone without a goodbye.
    pub(crate) fn expired(&self) -> u64 {
        self.expired
    }

    /// Every instance in the view, in no particular order.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.known.instances()
    }

    /// What is registered with the backend, as far as known.
    pub(crate) fn registered_all(&self) -> Vec<Arc<Instance>> {
        self.instances().filter(|instance| !self.locals.contains(instance.id())).cloned().collect()
    }

    /// The ids that the backend is believed to hold for a URL.
    pub(crate) fn registered_at(&self, url: &str) -> Vec<InstanceId> {
        self.instances()
            .filter(|instance| !limits::is_reserved(instance.service()))
            .filter(|instance| limits::is_same_address(instance.url(), url))
            .map(|instance| instance.id())
            .filter(|id| !self.locals.contains(*id) && !self.has_vanished(id))
            .cloned()
            .collect()
    }

    pub(crate) fn view(&self) -> View {
        self.contact.view()
    }

    /// Since when the view may have aged; `None` while changes are pushed, or nothing is known.
    pub(crate) fn aging_since(&self) -> Option<Instant> {
        self.contact.aging_since()
    }

    /// The last failure to reach the backend, as long as it has never been reached.
    pub(crate) fn never_reached(&self) -> Option<Option<&Error>> {
        self.contact.never_reached()
    }

    fn publish(&mut self, own_gone: bool) -> Effects {
        self.settle();
        Effects { changes: self.known.publish(), own_gone, knows_more: false }
    }

    fn put(&mut self, instance: Instance) {
        self.touch(instance.id());
        if !self.locals.contains(instance.id()) {
            self.missing.remove(instance.id());
            self.expiries.settle(instance.id());
            self.known.put(instance);
        }
    }

    fn remove(&mut self, id: &InstanceId) {
        self.touch(id);
        self.older.remove(id);
        if !self.locals.contains(id) {
            self.drop_missing(id);
        }
    }

    /// Records that an answer was about the services of its scope; returns whether there are new ones.
    fn cover(&mut self) -> bool {
        self.covered.add(&self.scope)
    }

    /// Whether the answer at hand is about an instance that is known.
    fn is_about(&self, id: &InstanceId) -> bool {
        match *self.scope {
            Scope::Everything => true,
            Scope::Only(_) => self.service_of(id).is_some_and(|it| self.scope.includes(it)),
        }
    }

    /// An instance belongs to a service that the answer is not about. If it is known as one of a service that
    /// the answer is about, it has left that one.
    fn see_elsewhere(&mut self, id: &InstanceId) {
        if self.is_about(id) {
            self.remove(id);
        }
    }

    fn touch(&mut self, id: &InstanceId) {
        if let Some(reading) = &mut self.reading {
            reading.touch(id);
        }
    }

    /// Keeps an instance that vanished, until it has had its chance to come back.
    fn miss(&mut self, id: InstanceId) {
        self.miss_since(id, self.contact.good_time());
    }

    fn miss_since(&mut self, id: InstanceId, since: GoodTime) {
        if self.known.contains(&id) && !self.locals.contains(&id) {
            self.missing.entry(id).or_insert(since);
        }
    }

    fn count_expired(&mut self, id: &InstanceId) {
        let is_told = |it: &Arc<Instance>| !limits::is_reserved(it.service());
        if !self.locals.contains(id) && self.known.get(id).is_some_and(is_told) {
            self.expired += 1;
        }
    }

    /// Whether the backend no longer holds an instance that may be shown still.
    fn has_vanished(&self, id: &InstanceId) -> bool {
        self.missing.contains_key(id) || self.expiries.contains(id)
    }

    fn drop_missing(&mut self, id: &InstanceId) {
        self.missing.remove(id);
        self.expiries.settle(id);
        self.known.take(id);
    }
}
