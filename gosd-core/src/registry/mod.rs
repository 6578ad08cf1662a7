//! The registry cache: what this client knows, fed by events and reads.
//!
//! A plain state machine: no I/O, no tasks, and the time is handed in.

mod contact;
mod directory;
mod known;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::contact::Contact;
pub(crate) use self::directory::{Directory, Rotation, Services, Turns};
use self::known::Known;
pub(crate) use self::slots::Leaf;
use crate::{Change, Error, Event, Instance, InstanceId, Result, View, limits};

pub(crate) struct Registry {
    lease: Duration,
    known: Known,
    /// Entries of this process alone, which no event or read touches.
    locals: HashSet<InstanceId>,
    /// Instances that vanished and are kept, with the time from which a lease must pass.
    missing: HashMap<InstanceId, Instant>,
    /// When the first of the missing may be due.
    sweep_at: Option<Instant>,
    contact: Contact,
    /// The ids that events touched since the read in flight began.
    reading: Option<Reading>,
    /// This client's own registration, from when it has succeeded until the client leaves.
    own: Option<InstanceId>,
}

#[derive(Default)]
struct Reading {
    touched: HashSet<InstanceId>,
    /// A `Reset` came in between: it is no older than the read, and continued by events.
    superseded: bool,
    /// The own registration that the read must hold to be believed.
    own: Option<InstanceId>,
}

/// What a step did, for those who must hear of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) changes: Vec<Change>,
    /// A service came up that was not there before.
    pub(crate) service_came: bool,
    /// The own registration is gone from the backend, and has to be made again.
    pub(crate) own_gone: bool,
}

impl Registry {
    pub(crate) fn new(lease: Duration, directory: Arc<Directory>) -> Self {
        Self {
            lease,
            known: Known::new(directory),
            locals: HashSet::new(),
            missing: HashMap::new(),
            sweep_at: None,
            contact: Contact::default(),
            reading: None,
            own: None,
        }
    }

    /// Applies what a watch yielded, in its order; readers see all of it at once.
    pub(crate) fn apply(&mut self, events: Vec<Event>, now: Instant) -> Effects {
        let mut own_gone = false;
        for event in events {
            own_gone |= self.step(event, now);
        }
        self.publish(own_gone)
    }

    /// Returns whether the own registration is gone by the event.
    fn step(&mut self, event: Event, now: Instant) -> bool {
        let unbroken = self.contact.is_unbroken(now, self.lease);
        self.gain_contact(now);
        match event {
            Event::Reset(all) => {
                if let Some(reading) = &mut self.reading {
                    reading.superseded = true;
                }
                let own = self.own.clone();
                self.replace(all, &HashSet::new(), own.as_ref(), unbroken, now)
            }
            Event::Put(instance) => {
                self.put(instance);
                false
            }
            Event::Remove(id) => {
                self.remove(&id);
                self.own.as_ref() == Some(&id)
            }
            Event::Expire(id) => {
                if unbroken {
                    self.remove(&id);
                } else {
                    self.touch(&id);
                    self.miss(id.clone(), self.contact.held_since().unwrap_or(now));
                }
                self.own.as_ref() == Some(&id)
            }
            Event::Resumed => false,
        }
    }

    /// Notes that a read of everything begins.
    pub(crate) fn begin_read(&mut self) {
        self.reading = Some(Reading { own: self.own.clone(), ..Reading::default() });
    }

    /// Applies what the read found; `None` if a `Reset` has come in between, which goes before it.
    pub(crate) fn finish_read(&mut self, all: Vec<Instance>, now: Instant) -> Option<Effects> {
        let reading = self.reading.take().unwrap_or_default();
        let unbroken = self.contact.is_unbroken(now, self.lease);
        self.gain_contact(now);
        if reading.superseded {
            return None;
        }
        // A client that has left meanwhile has none.
        let own = reading.own.filter(|_| self.own.is_some());
        let own_gone = self.replace(all, &reading.touched, own.as_ref(), unbroken, now);
        Some(self.publish(own_gone))
    }

    /// Notes that the read failed: it tells nothing of the instances.
    pub(crate) fn abandon_read(&mut self) {
        self.reading = None;
    }

    /// Notes that nothing is heard of the backend any more.
    pub(crate) fn lose_contact(&mut self, error: Error, now: Instant) {
        self.contact.lose(error, now);
    }

    /// Drops what has been missing for long enough.
    pub(crate) fn sweep(&mut self, now: Instant) -> Effects {
        self.sweep_at = None;
        let mut due = Vec::new();
        if let Some(since) = self.contact.held_since() {
            for (id, &from) in &self.missing {
                let at = from.max(since) + self.lease;
                if at <= now {
                    due.push(id.clone());
                } else {
                    self.sweep_at = Some(self.sweep_at.map_or(at, |earlier| earlier.min(at)));
                }
            }
        }
        for id in due {
            self.remove(&id);
        }
        self.publish(false)
    }

    /// When [`sweep`](Self::sweep) has to be called next.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Takes over a view from before, unless the backend has been read by now.
    pub(crate) fn seed(&mut self, all: Vec<Instance>, since: Instant) -> Effects {
        if self.contact.seed(since) {
            for instance in all {
                if !self.known.contains(instance.id()) {
                    self.known.put(instance);
                }
            }
        }
        self.publish(false)
    }

    /// Notes that the own registration has succeeded, and shows it without waiting to be told.
    pub(crate) fn registered(&mut self, instance: &Instance) -> Effects {
        self.own = Some(instance.id().clone());
        self.put(instance.clone());
        self.publish(false)
    }

    /// Notes that nobody renews the own registration any more.
    pub(crate) fn disown(&mut self) {
        self.own = None;
    }

    /// Takes away an instance that this client has deregistered, without waiting to be told.
    pub(crate) fn deregistered(&mut self, id: &InstanceId) -> Effects {
        self.remove(id);
        let own_gone = self.own.as_ref() == Some(id);
        self.publish(own_gone)
    }

    /// Whether the own registration was seen to be gone, and has not come back.
    pub(crate) fn own_is_gone(&self) -> bool {
        self.own
            .as_ref()
            .is_some_and(|id| !self.known.contains(id) || self.missing.contains_key(id))
    }

    pub(crate) fn add_local(&mut self, service: &str, url: &str) -> Result<(InstanceId, Effects)> {
        let instance = Instance::new(service, url)?;
        let same = |id: &&InstanceId| {
            self.known.get(id).is_some_and(|it| it.service() == service && it.url() == url)
        };
        if let Some(id) = self.locals.iter().find(same) {
            return Ok((id.clone(), Effects::default()));
        }
        let id = instance.id().clone();
        self.known.put(instance);
        self.locals.insert(id.clone());
        Ok((id, self.publish(false)))
    }

    pub(crate) fn remove_local(&mut self, id: &InstanceId) -> Option<Effects> {
        self.locals.remove(id).then(|| {
            self.known.take(id);
            self.publish(false)
        })
    }

    /// Every instance in the view, in no particular order.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.known.instances()
    }

    /// What others registered, as far as known.
    pub(crate) fn of_others(&self) -> Vec<Arc<Instance>> {
        let is_others =
            |id: &InstanceId| !self.locals.contains(id) && self.own.as_ref() != Some(id);
        self.instances().filter(|instance| is_others(instance.id())).cloned().collect()
    }

    /// The ids that the backend is believed to hold for a URL.
    pub(crate) fn registered_at(&self, url: &str) -> Vec<InstanceId> {
        self.instances()
            .filter(|instance| limits::is_same_address(instance.url(), url))
            .map(|instance| instance.id())
            .filter(|id| !self.locals.contains(*id) && !self.missing.contains_key(*id))
            .cloned()
            .collect()
    }

    pub(crate) fn view(&self) -> View {
        self.contact.view()
    }

    /// The last failure to reach the backend, as long as it has never been reached.
    pub(crate) fn never_reached(&self) -> Option<Option<&Error>> {
        self.contact.never_reached()
    }

    fn publish(&mut self, own_gone: bool) -> Effects {
        let (changes, service_came) = self.known.publish();
        Effects { changes, service_came, own_gone }
    }

    fn put(&mut self, instance: Instance) {
        self.touch(instance.id());
        if !self.locals.contains(instance.id()) {
            self.missing.remove(instance.id());
            self.known.put(instance);
        }
    }

    fn remove(&mut self, id: &InstanceId) {
        self.touch(id);
        if !self.locals.contains(id) {
            self.missing.remove(id);
            self.known.take(id);
        }
    }

    fn touch(&mut self, id: &InstanceId) {
        if let Some(reading) = &mut self.reading {
            reading.touched.insert(id.clone());
        }
    }

    /// Keeps an instance that vanished, until a lease after `from` has passed in contact.
    fn miss(&mut self, id: InstanceId, from: Instant) {
        if self.known.contains(&id) && !self.locals.contains(&id) {
            let from = *self.missing.entry(id).or_insert(from);
            if let Some(since) = self.contact.held_since() {
                let at = from.max(since) + self.lease;
                self.sweep_at = Some(self.sweep_at.map_or(at, |earlier| earlier.min(at)));
            }
        }
    }

    /// Takes over a snapshot of everything; returns whether the own registration is gone by it.
    fn replace(
        &mut self,
        all: Vec<Instance>,
        touched: &HashSet<InstanceId>,
        own: Option<&InstanceId>,
        unbroken: bool,
        now: Instant,
    ) -> bool {
        let lacks_own = own.is_some_and(|own| all.iter().all(|instance| instance.id() != own));
        // What a database says after it has lost its data looks like this.
        let is_suspect = all.is_empty() || lacks_own;
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
        let from = if is_suspect { now } else { self.contact.held_since().unwrap_or(now) };
        for id in self.known.unmarked() {
            if touched.contains(&id) || self.locals.contains(&id) || self.missing.contains_key(&id)
            {
                continue;
            }
            if unbroken && !is_suspect {
                self.known.take(&id);
            } else {
                self.miss(id, from);
            }
        }
        // A heartbeat during the read has mended it already.
        lacks_own && own.is_some_and(|own| !touched.contains(own))
    }

    fn gain_contact(&mut self, now: Instant) {
        if self.contact.gain(now) && !self.missing.is_empty() {
            // Everything that is missing has a lease from now on to come back in.
            self.sweep_at = Some(now + self.lease);
        }
    }
}
