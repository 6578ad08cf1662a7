//! What the registry should do, written from the design in the plainest way.
//!
//! Where the registry keeps sums, the model keeps the whole history and counts it through each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::DRAIN;
use crate::registry::grace;
use crate::{Event, Instance, InstanceId};

#[derive(Debug)]
pub(super) struct Model {
    lease: Duration,
    /// All that readers see.
    pub(super) view: BTreeMap<InstanceId, Instance>,
    pub(super) locals: BTreeSet<InstanceId>,
    /// What is kept though it vanished, and the good time at which it did.
    kept: BTreeMap<InstanceId, Duration>,
    /// What has expired, and until when its owner may object.
    expired: BTreeMap<InstanceId, Instant>,
    pub(super) contact: Contact,
    history: Vec<(Instant, Mark)>,
    is_pushed: bool,
    writes_taken: bool,
    pub(super) reading: Option<Reading>,
    pub(super) own: Option<InstanceId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    Never,
    Seeded,
    Held,
    Lost,
}

/// What happened to the contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Answer,
    /// Contact is good from here on, though what came before may be lost.
    Begin,
    Break,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    touched: BTreeSet<InstanceId>,
    overtaken: bool,
    own: Option<InstanceId>,
    began_at: Duration,
}

impl Model {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            view: BTreeMap::new(),
            locals: BTreeSet::new(),
            kept: BTreeMap::new(),
            expired: BTreeMap::new(),
            contact: Contact::Never,
            history: Vec::new(),
            is_pushed: false,
            writes_taken: true,
            reading: None,
            own: None,
        }
    }

    /// Returns whether the own registration has to be made again.
    pub(super) fn apply(&mut self, event: Event, now: Instant) -> bool {
        self.is_pushed = true;
        self.hear(now);
        match event {
            Event::Put(instance) => {
                self.put(instance);
                false
            }
            Event::Remove(id) => {
                self.drop(&id);
                self.own.as_ref() == Some(&id)
            }
            Event::Expire(id) if self.own.as_ref() == Some(&id) => {
                self.writes(false, now);
                self.touch(&id);
                self.keep(&id);
                true
            }
            Event::Expire(id) => {
                self.touch(&id);
                let is_shared = self.view.contains_key(&id) && !self.locals.contains(&id);
                if self.is_drain(&id) {
                    self.drop(&id);
                } else if self.believes(now) && is_shared {
                    self.expired.entry(id).or_insert(now + grace(self.lease));
                } else {
                    self.keep_for_the_stretch(&id, now);
                }
                false
            }
            Event::Reset(all) => {
                if let Some(reading) = &mut self.reading {
                    reading.overtaken = true;
                }
                if self.writes_taken {
                    self.history.push((now, Mark::Begin));
                }
                let own = self.own.clone();
                let told_at = self.good_time();
                self.replace(all, &BTreeSet::new(), own, told_at, now)
            }
            Event::Resumed => false,
        }
    }

    /// Drops the expired whose owners did not object.
    pub(super) fn drop_expired(&mut self, now: Instant) {
        let due: Vec<_> = self.expired.iter().filter(|(_, at)| **at <= now).collect();
        for id in due.into_iter().map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.expired.remove(&id);
            if self.believes(now) {
                self.kept.remove(&id);
                self.view.remove(&id);
            } else {
                self.keep_for_the_stretch(&id, now);
            }
        }
    }

    fn believes(&self, now: Instant) -> bool {
        self.good_for(now) >= self.lease / 2 && self.writes_taken
    }

    fn keep_for_the_stretch(&mut self, id: &InstanceId, now: Instant) {
        let last_run = self.runs(&self.history).pop().unwrap();
        let used_up = self.good_for(now).min(self.lease / 2 - grace(self.lease));
        self.keep_since(id, self.good_time() - used_up.min(last_run));
    }

    pub(super) fn begin_read(&mut self, now: Instant) {
        let mut history = self.history.clone();
        if self.writes_taken {
            history.push((now, Mark::Answer));
        }
        let (own, began_at) = (self.own.clone(), self.good_time_of(&history));
        self.reading = Some(Reading { own, began_at, ..Reading::default() });
    }

    pub(super) fn finish_read(&mut self, all: Vec<Instance>, now: Instant) -> Option<bool> {
        let Reading { touched, overtaken, own, began_at } = self.reading.take().unwrap();
        self.hear(now);
        let own = own.filter(|_| self.own.is_some());
        let told_at = began_at.min(self.good_time());
        (!overtaken).then(|| self.replace(all, &touched, own, told_at, now))
    }

    pub(super) fn abandon_read(&mut self, now: Instant) {
        self.reading = None;
        self.history.push((now, Mark::Break));
    }

    pub(super) fn lose_contact(&mut self, now: Instant) {
        if self.contact == Contact::Held {
            self.contact = Contact::Lost;
        }
        self.is_pushed = false;
        self.history.push((now, Mark::Break));
    }

    pub(super) fn stand_still(&mut self, now: Instant) {
        self.history.push((now, Mark::Break));
        if self.own.is_some() {
            self.writes(false, now);
        }
    }

    pub(super) fn registered(&mut self, own: Instance, now: Instant) {
        self.writes(true, now);
        self.own = Some(own.id().clone());
        self.put(own);
    }

    pub(super) fn registration_failed(&mut self, now: Instant) {
        self.writes(false, now);
    }

    pub(super) fn disown(&mut self, now: Instant) {
        self.own = None;
        self.writes(true, now);
    }

    pub(super) fn own_is_gone(&self) -> bool {
        let is_there = |id| self.view.contains_key(id) && !self.kept.contains_key(id);
        self.own.as_ref().is_some_and(|id| !is_there(id) || !self.writes_taken)
    }

    fn is_drain(&self, id: &InstanceId) -> bool {
        self.view.get(id).is_some_and(|it| it.service() == DRAIN)
    }

    /// Whether a record drains this instance.
    pub(super) fn drains(&self, id: &InstanceId) -> bool {
        let drain = format!("gosd.drain-{id}");
        self.view.get(drain.as_str()).is_some_and(|it| it.service() == DRAIN)
    }

    pub(super) fn misses_something(&self) -> bool {
        !self.kept.is_empty()
    }

    pub(super) fn deregistered(&mut self, id: &InstanceId) -> bool {
        self.drop(id);
        self.own.as_ref() == Some(id)
    }

    pub(super) fn seed(&mut self, all: Vec<Instance>) {
        if matches!(self.contact, Contact::Never | Contact::Seeded) {
            self.contact = Contact::Seeded;
            for instance in all {
                self.view.entry(instance.id().clone()).or_insert(instance);
            }
        }
    }

    fn replace(
        &mut self,
        all: Vec<Instance>,
        touched: &BTreeSet<InstanceId>,
        own: Option<InstanceId>,
        told_at: Duration,
        now: Instant,
    ) -> bool {
        let read: BTreeMap<_, _> = all.into_iter().map(|it| (it.id().clone(), it)).collect();
        let own_gone = own.is_some_and(|own| !read.contains_key(&own) && !touched.contains(&own));
        if own_gone {
            self.writes(false, now);
        }
        let vanished: Vec<_> =
            self.view.keys().filter(|id| !read.contains_key(*id)).cloned().collect();
        let listed: BTreeSet<_> = read.keys().cloned().collect();
        for (id, instance) in read {
            if !touched.contains(&id) {
                self.put(instance);
            }
        }
        for id in vanished.iter().filter(|id| !touched.contains(*id)) {
            let says_goodbye = listed.contains(format!("gosd.drain-{id}").as_str());
            match self.kept.get(id) {
                _ if says_goodbye && self.drains(id) || self.is_drain(id) => self.drop(id),
                Some(since) if told_at >= *since + self.lease / 2 => self.drop(id),
                _ => self.keep(id),
            }
        }
        own_gone
    }

    fn hear(&mut self, now: Instant) {
        self.contact = Contact::Held;
        if self.writes_taken {
            self.history.push((now, Mark::Answer));
        }
    }

    fn writes(&mut self, taken: bool, now: Instant) {
        if self.writes_taken != taken {
            self.writes_taken = taken;
            self.history.push((now, Mark::Break));
            if taken && self.is_pushed {
                self.history.push((now, Mark::Begin));
            }
        }
    }

    /// For how long contact has been good without a break.
    fn good_for(&self, now: Instant) -> Duration {
        let mut since = None;
        for (at, mark) in &self.history {
            match mark {
                Mark::Break => since = None,
                Mark::Begin => since = Some(*at),
                Mark::Answer => since = since.or(Some(*at)),
            }
        }
        since.map_or(Duration::ZERO, |since| now - since)
    }

    /// The sum of all runs of answers, each of which but the last counts a sixth of a lease less.
    fn good_time(&self) -> Duration {
        self.good_time_of(&self.history)
    }

    fn good_time_of(&self, history: &[(Instant, Mark)]) -> Duration {
        let mut runs = self.runs(history);
        let last = runs.pop().unwrap();
        runs.iter().map(|run| run.saturating_sub(self.lease / 6)).sum::<Duration>() + last
    }

    fn runs(&self, history: &[(Instant, Mark)]) -> Vec<Duration> {
        let mut runs = vec![Duration::ZERO];
        let mut before = None;
        for (at, mark) in history {
            match (mark, before) {
                (Mark::Begin, _) => continue,
                (Mark::Answer, Some(before)) if *at - before <= self.lease / 2 => {
                    *runs.last_mut().unwrap() += *at - before;
                }
                (Mark::Answer | Mark::Break, _) => runs.push(Duration::ZERO),
            }
            before = (*mark == Mark::Answer).then_some(*at);
        }
        runs
    }

    fn put(&mut self, instance: Instance) {
        self.touch(instance.id());
        if !self.locals.contains(instance.id()) {
            self.kept.remove(instance.id());
            self.expired.remove(instance.id());
            self.view.insert(instance.id().clone(), instance);
        }
    }

    fn drop(&mut self, id: &InstanceId) {
        self.touch(id);
        if !self.locals.contains(id) {
            self.kept.remove(id);
            self.expired.remove(id);
            self.view.remove(id);
        }
    }

    fn keep(&mut self, id: &InstanceId) {
        self.keep_since(id, self.good_time());
    }

    fn keep_since(&mut self, id: &InstanceId, since: Duration) {
        if self.view.contains_key(id) && !self.locals.contains(id) {
            self.kept.entry(id.clone()).or_insert(since);
        }
    }

    fn touch(&mut self, id: &InstanceId) {
        if let Some(reading) = &mut self.reading {
            reading.touched.insert(id.clone());
        }
    }
}
