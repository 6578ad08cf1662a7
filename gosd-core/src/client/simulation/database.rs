//! A database as its drivers show it: records under leases, a log of changes, and its faults.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Number;
use crate::{Event, Instance};

/// Whether the database serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    Well,
    /// It takes no writes, and the drivers say so.
    ReadOnly,
    /// It takes no writes, and no driver finds out.
    Refusing,
    /// It stands still: what is sent to it waits.
    Silent,
    /// Its host is gone: what is sent to it is lost.
    Gone,
    /// Nobody can connect.
    Down,
}

pub(super) struct Database {
    lease: Duration,
    records: Records,
    /// The changes of this epoch, each with its time.
    pub(super) log: Vec<(Instant, Event)>,
    /// Begins anew when data is lost, and with it every watch.
    pub(super) epoch: u32,
    pub(super) epoch_since: Instant,
    pub(super) serving: Serving,
    pub(super) serving_since: Instant,
    /// Counts the times it went down, which no connection survives.
    pub(super) outages: u32,
    /// By clause 15 nothing that expired is removed before.
    purges_from: Instant,
    /// Whether lists show what has expired and was not removed; drivers may do either.
    lists_lapsed: bool,
    /// When what is not there was last there.
    gone_at: BTreeMap<Number, Instant>,
}

pub(super) type Records = BTreeMap<Number, Record>;

#[derive(Clone)]
pub(super) struct Record {
    instance: Instance,
    expires_at: Instant,
}

impl Database {
    pub(super) fn new(lease: Duration, lists_lapsed: bool, now: Instant) -> Self {
        Self {
            lease,
            records: Records::new(),
            log: Vec::new(),
            epoch: 0,
            epoch_since: now,
            serving: Serving::Well,
            serving_since: now,
            outages: 0,
            purges_from: now,
            lists_lapsed,
            gone_at: BTreeMap::new(),
        }
    }

    pub(super) fn takes_writes(&self) -> bool {
        self.serving == Serving::Well
    }

    pub(super) fn register(&mut self, number: Number, instance: &Instance, now: Instant) {
        let record = Record { instance: instance.clone(), expires_at: now + self.lease };
        let before = self.records.insert(number, record);
        // What had lapsed was in no list, so watches have to hear of it.
        if before.is_none_or(|before| before.expires_at <= now) {
            self.log.push((now, Event::Put(instance.clone())));
        }
    }

    pub(super) fn deregister(&mut self, number: Number, now: Instant) {
        if let Some(record) = self.records.remove(&number) {
            self.gone_at.insert(number, record.expires_at.min(now));
            self.log.push((now, Event::Remove(record.instance.id().clone())));
        }
    }

    pub(super) fn list(&self, now: Instant) -> Vec<Instance> {
        let listed = |record: &&Record| self.lists_lapsed || record.expires_at > now;
        self.records.values().filter(listed).map(|record| record.instance.clone()).collect()
    }

    /// Removes what has expired, as the drivers do once a second.
    pub(super) fn purge(&mut self, now: Instant) {
        if !self.takes_writes() || now < self.purges_from {
            return;
        }
        let lapsed = |(number, record): (&Number, &Record)| {
            (record.expires_at <= now).then_some((*number, record.expires_at))
        };
        let dead: Vec<_> = self.records.iter().filter_map(lapsed).collect();
        for (number, at) in dead {
            if let Some(record) = self.records.remove(&number) {
                self.gone_at.insert(number, at);
                self.log.push((now, Event::Expire(record.instance.id().clone())));
            }
        }
    }

    /// Since when the record is not there; `None` if it is, or never was.
    pub(super) fn gone_since(&self, number: Number, now: Instant) -> Option<Instant> {
        match self.records.get(&number) {
            Some(record) => (record.expires_at <= now).then_some(record.expires_at),
            None => self.gone_at.get(&number).copied(),
        }
    }

    pub(super) fn copy(&self) -> Records {
        self.records.clone()
    }

    /// Replaces all data by an older state of it, or by none.
    pub(super) fn restore(&mut self, records: Records, now: Instant) {
        for (number, record) in std::mem::replace(&mut self.records, records) {
            self.gone_at.insert(number, record.expires_at.min(now));
        }
        self.log.clear();
        self.epoch += 1;
        self.epoch_since = now;
    }

    pub(super) fn serve(&mut self, serving: Serving, now: Instant) {
        // Where the host was gone, it is found out when there is one again.
        if serving == Serving::Down || self.serving == Serving::Gone {
            self.outages += 1;
        }
        self.serving = serving;
        self.serving_since = now;
    }

    /// Sets its clock forward or back. The drivers notice, and remove nothing for a lease.
    pub(super) fn step_clock(&mut self, forward: bool, step: Duration, now: Instant) {
        for record in self.records.values_mut() {
            record.expires_at = match forward {
                true => record.expires_at.checked_sub(step).unwrap_or(now),
                false => record.expires_at + step,
            };
        }
        self.purges_from = now + self.lease;
    }

    /// The drivers that purge know that nobody could renew, and leave time for it.
    pub(super) fn spare_the_lapsed(&mut self, now: Instant) {
        self.purges_from = self.purges_from.max(now + self.lease / 2);
    }

    pub(super) fn spares_until(&self) -> Instant {
        self.purges_from
    }
}
