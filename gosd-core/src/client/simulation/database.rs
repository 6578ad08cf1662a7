//! A model of a database as drivers show it: records under leases, a log of changes, and faults.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Number;
use crate::{Event, Instance};

/// How the database answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    Well,
    /// Writes are refused, and the drivers report that.
    ReadOnly,
    /// Writes are refused, and no driver notices.
    Refusing,
    /// The database stands still: requests wait.
    Silent,
    /// The host is gone: requests are lost.
    Gone,
    /// Every connection is refused.
    Down,
}

pub(super) struct Database {
    lease: Duration,
    records: Records,
    /// The changes of the current epoch, each with its time.
    pub(super) log: Vec<(Instant, Event)>,
    /// A new epoch begins when data is lost, and then every watch begins again.
    pub(super) epoch: u32,
    pub(super) epoch_since: Instant,
    pub(super) serving: Serving,
    pub(super) serving_since: Instant,
    /// Counts the outages that broke every connection.
    pub(super) outages: u32,
    /// Until this time clause 15 forbids the removal of expired records.
    purges_from: Instant,
    /// Whether lists contain expired records that were not removed yet. Drivers may do either.
    lists_lapsed: bool,
    /// The leases that each record has had, up to the present one.
    leases: BTreeMap<Number, Vec<Lease>>,
}

pub(super) type Records = BTreeMap<Number, Record>;

/// One lease of a record, which holds until the next one or until it runs out.
#[derive(Clone, Copy)]
struct Lease {
    from: Instant,
    expires_at: Instant,
}

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
            leases: BTreeMap::new(),
        }
    }

    pub(super) fn takes_writes(&self) -> bool {
        self.serving == Serving::Well
    }

    pub(super) fn register(&mut self, number: Number, instance: &Instance, now: Instant) {
        let record = Record { instance: instance.clone(), expires_at: now + self.lease };
        self.lease_out(number, record.expires_at, now);
        let before = self.records.insert(number, record);
        // An expired record was in no list, so watches have to yield its return.
        if before.is_none_or(|before| before.expires_at <= now) {
            self.log.push((now, Event::Put(instance.clone())));
        }
    }

    pub(super) fn deregister(&mut self, number: Number, now: Instant) {
        if let Some(record) = self.records.remove(&number) {
            self.lease_out(number, record.expires_at.min(now), now);
            self.log.push((now, Event::Remove(record.instance.id().clone())));
        }
    }

    /// Ends a lease that has not run out, as a leader of etcd does that was paused.
    pub(super) fn take_lease(&mut self, number: Number, now: Instant) {
        if let Some(record) = self.records.remove(&number) {
            self.lease_out(number, record.expires_at.min(now), now);
            self.log.push((now, Event::Expire(record.instance.id().clone())));
        }
    }

    pub(super) fn list(&self, now: Instant) -> Vec<Instance> {
        let listed = |record: &&Record| self.lists_lapsed || record.expires_at > now;
        self.records.values().filter(listed).map(|record| record.instance.clone()).collect()
    }

    /// Removes expired records. The drivers do so once a second.
    pub(super) fn purge(&mut self, now: Instant) {
        if !self.takes_writes() || now < self.purges_from {
            return;
        }
        self.records.retain(|_, record| {
            let has_lapsed = record.expires_at <= now;
            if has_lapsed {
                self.log.push((now, Event::Expire(record.instance.id().clone())));
            }
            !has_lapsed
        });
    }

    /// Since when the record has been absent; `None` if it is present, or never was.
    pub(super) fn gone_since(&self, number: Number, now: Instant) -> Option<Instant> {
        let lease = self.leases.get(&number)?.last()?;
        (lease.expires_at <= now).then_some(lease.expires_at)
    }

    /// Whether the record was absent at that time, so that an answer from then may lack it.
    pub(super) fn was_gone(&self, number: Number, at: Instant) -> bool {
        let leases = self.leases.get(&number).map_or(&[][..], Vec::as_slice);
        let Some(first) = leases.partition_point(|lease| lease.from < at).checked_sub(1) else {
            return true;
        };
        // An answer may have seen any of the leases that met at that instant.
        let mut present = leases[first..].iter().take_while(|lease| lease.from <= at);
        present.any(|lease| lease.expires_at <= at)
    }

    /// Records that from now on the lease of a record ends at that time.
    fn lease_out(&mut self, number: Number, expires_at: Instant, now: Instant) {
        self.leases.entry(number).or_default().push(Lease { from: now, expires_at });
    }

    pub(super) fn copy(&self) -> Records {
        self.records.clone()
    }

    /// Replaces all data by an older copy, or by nothing.
    pub(super) fn restore(&mut self, records: Records, now: Instant) {
        for (number, record) in std::mem::take(&mut self.records) {
            self.lease_out(number, record.expires_at.min(now), now);
        }
        for (number, record) in &records {
            self.lease_out(*number, record.expires_at, now);
        }
        self.records = records;
        self.log.clear();
        self.epoch += 1;
        self.epoch_since = now;
    }

    pub(super) fn serve(&mut self, serving: Serving, now: Instant) {
        // Connections to a host that was gone break when the host is back.
        if serving == Serving::Down || self.serving == Serving::Gone {
            self.outages += 1;
        }
        self.serving = serving;
        self.serving_since = now;
    }

    /// Sets the database's clock forward or back. The drivers notice, and remove nothing for a lease.
    pub(super) fn step_clock(&mut self, forward: bool, step: Duration, now: Instant) {
        for (number, record) in &mut self.records {
            record.expires_at = match forward {
                true => record.expires_at.checked_sub(step).unwrap_or(now),
                false => record.expires_at + step,
            };
            let lease = Lease { from: now, expires_at: record.expires_at };
            self.leases.entry(*number).or_default().push(lease);
        }
        self.purges_from = now + self.lease;
    }

    /// Delays removals for half a lease, as drivers do when they know that nobody could renew.
    pub(super) fn spare_the_lapsed(&mut self, now: Instant) {
        self.purges_from = self.purges_from.max(now + self.lease / 2);
    }

    pub(super) fn spares_until(&self) -> Instant {
        self.purges_from
    }
}
