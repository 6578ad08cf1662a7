//! Notices changes that no entry of the stream announces: by Go processes, by people, and by a server that
//! loses a key.
//!
//! The Go library changes the registry without an entry in the stream. Its changes show in the number of
//! fields without a lease, and in the records of those that are known. Leases without a field have
//! lost it. So a look takes a time that does not grow with the registry: it reads the numbers, and the
//! records of a slice of Go's instances, each time of the next one. Only to find out *which* fields are
//! new or gone, the rest is read, a slice at a time.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use crate::answers::Answers;
use gosd_core::{Event, Instance, InstanceId, Result};
use redis::{RedisResult, Value};

use crate::cursor::{text, text_pairs};
use crate::layout::{self, Keys};
use crate::look::Look;
use crate::snapshot::Snapshot;

/// About how many fields are read at once.
const SLICE: usize = 500;

/// What a watch has to remember in order to notice unannounced changes.
pub(crate) struct Unannounced {
    /// The instances that do not have gosd's form, and have never been seen to have a lease.
    others: BTreeMap<InstanceId, Other>,
    /// Those that had one, so that gosd wrote them and announces their changes.
    leased: HashSet<InstanceId>,
    /// The instance up to which the others were read.
    read: Option<InstanceId>,
    /// The surplus of fields over leases and others: what cannot be read or cannot get a lease, less the
    /// leases without a field.
    surplus: i64,
    doubt: Option<Doubt>,
    /// How many fields without a lease cannot be read, or cannot get a lease.
    unreadable: i64,
    search: Search,
    /// Instances that are gone. Their events come after those of instances that may have replaced them.
    gone: Vec<InstanceId>,
}

struct Other {
    url: String,
    /// Whether it is known to have no lease. The snapshot does not tell.
    is_known: bool,
}

/// A surplus that is too small: instances of Go are gone, of slices not read since, or fields are lost.
struct Doubt {
    surplus: i64,
    /// How many instances of Go have not been read since it was found, while nothing else has changed.
    unread: usize,
    /// How many have followed each other at once.
    hurried: usize,
}

/// The progress of the search for fields without a lease.
#[derive(Clone, Copy)]
enum Search {
    Idle,
    /// Where the search continues, and how many fields are still to be found.
    At {
        from: u64,
        missing: i64,
    },
}

/// The results of a look, or of a part of a search.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) events: Vec<Result<Event>>,
    /// Instances that gosd wrote, and that have lost their leases.
    pub(crate) leaseless: Vec<InstanceId>,
    /// Whether records are gone without a goodbye.
    pub(crate) lost: bool,
    /// Whether the next look has to follow at once.
    pub(crate) is_partial: bool,
}

impl Unannounced {
    /// Starts with a snapshot.
    pub(crate) fn beside(snapshot: &Snapshot) -> Self {
        let others = snapshot.instances.iter().filter(|instance| !instance.id().is_generated());
        let other = |instance: &Instance| Other { url: instance.url().into(), is_known: false };
        let others: BTreeMap<_, _> =
            others.map(|instance| (instance.id().clone(), other(instance))).collect();
        Self {
            surplus: snapshot.surplus - others.len() as i64,
            others,
            leased: HashSet::new(),
            read: None,
            doubt: None,
            unreadable: 0,
            search: Search::Idle,
            gone: Vec::new(),
        }
    }

    /// The instances whose records the next look has to read, a slice at most, and whether they may have leases.
    pub(crate) fn next(&self) -> (Vec<InstanceId>, bool) {
        let unknown = self.others.iter().filter(|(_, other)| !other.is_known);
        let unknown: Vec<_> = unknown.map(|(id, _)| id.clone()).take(SLICE).collect();
        if !unknown.is_empty() {
            return (unknown, true);
        }
        let from = self.read.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.others.range::<InstanceId, _>((from, Bound::Unbounded));
        let in_turn = rest.chain(&self.others).map(|(id, _)| id.clone());
        (in_turn.take(SLICE.min(self.others.len())).collect(), false)
    }

    /// Records a change that the stream announces.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Put(instance) if !instance.id().is_generated() => {
                self.gone.retain(|gone| gone != instance.id());
                self.forget(instance.id());
                self.leased.insert(instance.id().clone());
            }
            Event::Remove(id) | Event::Expire(id) => {
                self.forget(id);
                self.leased.remove(id);
            }
            _ => {}
        }
    }

    fn forget(&mut self, id: &InstanceId) {
        if self.others.remove(id).is_some_and(|other| !other.is_known) {
            // It is taken to have had a lease.
            self.surplus += 1;
        }
    }

    /// Compares the known state with a look, once all entries of the look have been recorded.
    pub(crate) fn compare(&mut self, look: &Look) -> Findings {
        let mut findings = Findings::default();
        let mut gone = Vec::new();
        let known = self.others.len();
        for (id, record) in &look.records {
            let Some(other) = self.others.get_mut(id) else { continue };
            let Some(url) = &record.url else {
                gone.push((id, record.has_lease));
                continue;
            };
            if *url != other.url {
                other.url.clone_from(url);
                findings.events.push(put(id, url, record.meta.as_deref()));
            }
            other.is_known = true;
            if record.has_lease {
                self.others.remove(id);
                self.leased.insert(id.clone());
                self.surplus += 1;
            }
        }
        if let Some((last, _)) = look.records.last() {
            self.read = Some(last.clone());
        }
        // Nobody deletes the whole hash at once on purpose.
        findings.lost = look.fields == 0 && gone.len() > 1;
        let is_none_gone = gone.is_empty();
        for (id, has_lease) in gone {
            // The goodbye of a gosd instance would be in the stream.
            findings.lost |= has_lease;
            self.others.remove(id);
            self.gone.push(id.clone());
        }

        findings.is_partial = self.others.values().any(|other| !other.is_known);
        if findings.is_partial {
            return findings;
        }
        let surplus = look.fields - look.leases - self.others.len() as i64;
        if surplus < self.surplus {
            let hurried = self.doubt.as_ref().map_or(0, |doubt| doubt.hurried) + 1;
            let is_same = |doubt: &&Doubt| doubt.surplus == surplus && is_none_gone;
            let unread = self.doubt.as_ref().filter(is_same).map_or(known, |doubt| doubt.unread);
            let unread = unread.saturating_sub(look.records.len());
            // Which of the two is certain once all slices have been read while nothing changed.
            if unread > 0 {
                // While Go goes on changing much, what is found by now has to do until the next look is due.
                findings.is_partial = hurried * SLICE < 2 * self.others.len();
                let hurried = if findings.is_partial { hurried } else { 0 };
                self.doubt = Some(Doubt { surplus, unread, hurried });
                if !findings.is_partial {
                    self.tell_of_gone(&mut findings);
                }
                return findings;
            }
        }
        self.doubt = None;
        // A lease that another watch gave to one of the others looks the same, and reading all again is
        // right then, too.
        findings.lost |= surplus < self.surplus.min(0);
        self.surplus = surplus;
        self.unreadable = self.unreadable.min(surplus.max(0));
        if surplus > self.unreadable && !self.is_searching() {
            self.search = Search::At { from: 0, missing: surplus };
        }
        self.tell_of_gone(&mut findings);
        findings
    }

    fn tell_of_gone(&mut self, findings: &mut Findings) {
        if !self.is_searching() {
            findings.events.extend(self.gone.drain(..).map(|id| Ok(Event::Remove(id))));
        }
    }

    pub(crate) fn is_searching(&self) -> bool {
        matches!(self.search, Search::At { .. })
    }

    /// Searches a slice of the registry for fields without a lease.
    pub(crate) async fn search(
        &mut self,
        redis: &mut Answers,
        keys: &Keys,
    ) -> RedisResult<Findings> {
        let mut findings = Findings::default();
        let Search::At { from, mut missing } = self.search else { return Ok(findings) };
        let mut scan = redis::cmd("HSCAN");
        scan.arg(&keys.registry).arg(from).arg("COUNT").arg(SLICE);
        let (next, slice): (u64, Vec<Value>) = scan.query_async(redis).await?;
        let fields = text_pairs(slice).map(|(id, url)| (InstanceId::from(id), url));
        let unknown = fields.filter(|(id, _)| !self.others.contains_key(id));
        let mut unknown: Vec<(InstanceId, String)> = unknown.collect();
        let ends = of_each(redis, "ZSCORE", &keys.leases, &unknown).await?;
        let mut ends = ends.into_iter();
        unknown.retain(|_| ends.next() == Some(Value::Nil));
        let metas = of_each(redis, "HGET", &keys.meta, &unknown).await?;
        self.gone.retain(|gone| unknown.iter().all(|(id, _)| id != gone));
        for ((id, url), meta) in unknown.into_iter().zip(metas) {
            findings.events.push(put(&id, &url, text(meta).as_deref()));
            if id.is_generated() || self.leased.contains(&id) {
                findings.leaseless.push(id);
            } else {
                missing -= 1;
                // More may be found than there were when the search began.
                self.surplus = (self.surplus - 1).max(0);
                self.others.insert(id, Other { url, is_known: true });
            }
        }
        if next == 0 {
            // Fields that have not been found by now will not be found by another search, either.
            self.unreadable = missing.max(0);
            self.search = Search::Idle;
        } else {
            self.search = Search::At { from: next, missing };
        }
        self.tell_of_gone(&mut findings);
        Ok(findings)
    }
}

/// The values of a key for some instances.
async fn of_each(
    redis: &mut Answers,
    command: &str,
    key: &str,
    fields: &[(InstanceId, String)],
) -> RedisResult<Vec<Value>> {
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let mut ask = redis::pipe();
    for (id, _) in fields {
        ask.cmd(command).arg(key).arg(id.as_str());
    }
    ask.query_async(redis).await
}

fn put(id: &InstanceId, url: &str, meta: Option<&str>) -> Result<Event> {
    layout::instance(id.as_str(), url, meta).map(Event::Put)
}

#[cfg(test)]
mod tests;
