//! What the registry should do, written from the design in the plainest way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::{Event, Instance, InstanceId};

#[derive(Debug)]
pub(super) struct Model {
    lease: Duration,
    /// All that readers see.
    pub(super) view: BTreeMap<InstanceId, Instance>,
    pub(super) locals: BTreeSet<InstanceId>,
    /// What is kept though it vanished, and when its lease of grace began.
    kept: BTreeMap<InstanceId, Instant>,
    pub(super) contact: Contact,
    pub(super) reading: Option<Reading>,
    pub(super) own: Option<InstanceId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    Never,
    Seeded,
    Since(Instant),
    Lost,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    touched: BTreeSet<InstanceId>,
    overtaken: bool,
    own: Option<InstanceId>,
}

impl Model {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            view: BTreeMap::new(),
            locals: BTreeSet::new(),
            kept: BTreeMap::new(),
            contact: Contact::Never,
            reading: None,
            own: None,
        }
    }

    /// Returns whether the own registration has to be made again.
    pub(super) fn apply(&mut self, event: Event, now: Instant) -> bool {
        let unbroken = self.is_unbroken(now);
        self.in_contact(now);
        match event {
            Event::Put(instance) => {
                self.put(instance);
                false
            }
            Event::Remove(id) => {
                self.drop(&id);
                self.own.as_ref() == Some(&id)
            }
            Event::Expire(id) => {
                if unbroken {
                    self.drop(&id);
                } else {
                    self.touch(&id);
                    let Contact::Since(since) = self.contact else { unreachable!() };
                    self.keep(&id, since);
                }
                self.own.as_ref() == Some(&id)
            }
            Event::Reset(all) => {
                if let Some(reading) = &mut self.reading {
                    reading.overtaken = true;
                }
                let own = self.own.clone();
                self.replace(all, &BTreeSet::new(), own, unbroken, now)
            }
            Event::Resumed => false,
        }
    }

    pub(super) fn begin_read(&mut self) {
        self.reading = Some(Reading { own: self.own.clone(), ..Reading::default() });
    }

    pub(super) fn finish_read(&mut self, all: Vec<Instance>, now: Instant) -> Option<bool> {
        let Reading { touched, overtaken, own } = self.reading.take().unwrap();
        let unbroken = self.is_unbroken(now);
        self.in_contact(now);
        let own = own.filter(|_| self.own.is_some());
        (!overtaken).then(|| self.replace(all, &touched, own, unbroken, now))
    }

    pub(super) fn lose_contact(&mut self) {
        if let Contact::Since(_) = self.contact {
            self.contact = Contact::Lost;
        }
    }

    pub(super) fn sweep(&mut self, now: Instant) {
        if self.next_due().is_some_and(|due| due <= now) {
            let lease = self.lease;
            let (due, kept): (BTreeMap<_, _>, _) =
                std::mem::take(&mut self.kept).into_iter().partition(|(_, at)| *at + lease <= now);
            self.kept = kept;
            due.keys().for_each(|id| self.drop(id));
        }
    }

    /// When the first of what is kept has had its lease of grace; in contact only.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let first = self.kept.values().min()?;
        matches!(self.contact, Contact::Since(_)).then(|| *first + self.lease)
    }

    pub(super) fn registered(&mut self, own: Instance) {
        self.own = Some(own.id().clone());
        self.put(own);
    }

    pub(super) fn own_is_gone(&self) -> bool {
        let is_there = |id| self.view.contains_key(id) && !self.kept.contains_key(id);
        self.own.as_ref().is_some_and(|id| !is_there(id))
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
        unbroken: bool,
        now: Instant,
    ) -> bool {
        let read: BTreeMap<_, _> = all.into_iter().map(|it| (it.id().clone(), it)).collect();
        let lacks_own = own.as_ref().is_some_and(|own| !read.contains_key(own));
        let is_suspect = read.is_empty() || lacks_own;
        let Contact::Since(first_good_read) = self.contact else { unreachable!() };
        let vanished: Vec<_> =
            self.view.keys().filter(|id| !read.contains_key(*id)).cloned().collect();
        for id in vanished.iter().filter(|id| !touched.contains(*id)) {
            match (unbroken, is_suspect) {
                // What is kept already has its whole lease to come back in.
                _ if self.kept.contains_key(id) => {}
                (true, false) => self.drop(id),
                (_, true) => self.keep(id, now),
                (false, false) => self.keep(id, first_good_read),
            }
        }
        for (id, instance) in read {
            if !touched.contains(&id) {
                self.put(instance);
            }
        }
        lacks_own && own.is_some_and(|own| !touched.contains(&own))
    }

    fn is_unbroken(&self, now: Instant) -> bool {
        matches!(self.contact, Contact::Since(since) if now - since >= self.lease)
    }

    fn in_contact(&mut self, now: Instant) {
        if !matches!(self.contact, Contact::Since(_)) {
            self.contact = Contact::Since(now);
            self.kept.values_mut().for_each(|at| *at = now);
        }
    }

    fn put(&mut self, instance: Instance) {
        self.touch(instance.id());
        if !self.locals.contains(instance.id()) {
            self.kept.remove(instance.id());
            self.view.insert(instance.id().clone(), instance);
        }
    }

    fn drop(&mut self, id: &InstanceId) {
        self.touch(id);
        if !self.locals.contains(id) {
            self.kept.remove(id);
            self.view.remove(id);
        }
    }

    fn keep(&mut self, id: &InstanceId, since: Instant) {
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
