//! Notices changes that no entry of the stream announces: by Go processes, by people, and by a server that
//! loses a key.
//!
//! The Go library changes the registry without an entry in the stream. Its changes show in the number of
//! fields without a lease, and in the few records that do not have gosd's form. Leases without a field have
//! lost it. So a look takes a time that does not grow with the registry. Only to find out *which* fields are
//! new, the registry is read, a slice at a time.

use std::collections::HashMap;

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
    /// The instances that do not have gosd's form.
    others: HashMap<InstanceId, Other>,
    /// How many leases without a field are known.
    orphans: Orphans,
    /// How many fields without a lease cannot be read, or cannot get a lease.
    unreadable: i64,
    search: Search,
    /// Instances that are gone. Their events come after those of instances that may have replaced them.
    gone: Vec<InstanceId>,
}

struct Other {
    url: String,
    /// Whether the instance was ever seen to have a lease, so that gosd wrote it.
    leased: bool,
}

/// The known leases without a field.
#[derive(Clone, Copy)]
enum Orphans {
    Known(i64),
    /// In the snapshot there were this many more fields than leases, other software's included.
    NotLookedFor {
        surplus: i64,
    },
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
}

impl Unannounced {
    /// Starts with a snapshot.
    pub(crate) fn beside(snapshot: &Snapshot) -> Self {
        let others = snapshot.instances.iter().filter(|instance| !instance.id().is_generated());
        let other = |instance: &Instance| Other { url: instance.url().into(), leased: false };
        Self {
            others: others.map(|instance| (instance.id().clone(), other(instance))).collect(),
            orphans: Orphans::NotLookedFor { surplus: snapshot.surplus },
            unreadable: 0,
            search: Search::Idle,
            gone: Vec::new(),
        }
    }

    /// The instances whose records a look has to read.
    pub(crate) fn ids(&self) -> Vec<InstanceId> {
        self.others.keys().cloned().collect()
    }

    /// Records a change that the stream announces.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Put(instance) if !instance.id().is_generated() => {
                let other = Other { url: instance.url().to_owned(), leased: true };
                self.others.insert(instance.id().clone(), other);
            }
            Event::Remove(id) | Event::Expire(id) => drop(self.others.remove(id)),
            _ => {}
        }
    }

    /// Compares the known state with a look, once all entries of the look have been recorded.
    pub(crate) fn compare(&mut self, look: &Look) -> Findings {
        let mut findings = Findings::default();
        let (mut without_lease, mut gone) = (0, Vec::new());
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
            if record.has_lease {
                other.leased = true;
                continue;
            }
            without_lease += 1;
            if other.leased {
                findings.leaseless.push(id.clone());
            }
        }
        // Nobody deletes the whole hash at once on purpose.
        findings.lost = look.fields == 0 && gone.len() > 1;
        let mut gone_of_go = 0;
        for (id, has_lease) in gone {
            let leased = self.others.remove(id).is_some_and(|other| other.leased);
            if leased || has_lease {
                // The goodbye of a gosd instance would be in the stream.
                findings.lost = true;
            } else {
                gone_of_go += 1;
            }
            self.gone.push(id.clone());
        }

        let surplus = look.fields - look.leases - without_lease;
        let orphans = (-surplus).max(0);
        let known = match self.orphans {
            Orphans::Known(known) => known,
            Orphans::NotLookedFor { surplus } => without_lease + gone_of_go - surplus,
        };
        findings.lost |= orphans > known.max(0);
        self.orphans = Orphans::Known(orphans);
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
        for ((id, url), meta) in unknown.into_iter().zip(metas) {
            findings.events.push(put(&id, &url, text(meta).as_deref()));
            if id.is_generated() {
                findings.leaseless.push(id);
            } else {
                missing -= 1;
                self.others.insert(id, Other { url, leased: false });
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
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::look::Record;

    /// A watch that knows one instance of Go and two of gosd.
    fn unannounced() -> Unannounced {
        let go = Instance::from_parts("go-1".into(), "go", "http://a", [].into());
        let instances = vec![go];
        Unannounced::beside(&Snapshot { instances, surplus: 1, position: "1-1".into() })
    }

    /// A look with this many fields and leases, and with this record of Go.
    fn look(fields: i64, leases: i64, url: Option<&str>) -> Look {
        let record = Record { url: url.map(Into::into), ..Record::default() };
        Look {
            now: 0,
            sent: Instant::now(),
            received: Instant::now(),
            at_position: None,
            entries: Vec::new(),
            fields,
            leases,
            next_end: None,
            last_end: None,
            records: HashMap::from([("go-1".into(), record)]),
            renewals: None,
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_happened() {
        let mut unannounced = unannounced();
        for _ in 0..2 {
            let findings = unannounced.compare(&look(3, 2, Some("http://a")));
            assert!(findings.events.is_empty() && !findings.lost && !unannounced.is_searching());
        }
    }

    #[test]
    fn changes_by_go_are_noticed() {
        let mut moved = unannounced();
        let findings = moved.compare(&look(3, 2, Some("http://b")));
        let Ok(Event::Put(put)) = &findings.events[0] else { panic!("{findings:?}") };
        assert_eq!(put.url(), "http://b");

        let mut left = unannounced();
        let findings = left.compare(&look(2, 2, None));
        assert!(matches!(&findings.events[..], [Ok(Event::Remove(_))]) && !findings.lost);

        let mut joined = unannounced();
        assert!(joined.compare(&look(4, 2, Some("http://a"))).events.is_empty());
        assert!(joined.is_searching());

        let mut replaced = unannounced();
        assert!(replaced.compare(&look(3, 2, None)).events.is_empty(), "the new one comes first");
        assert!(replaced.is_searching());
    }

    #[test]
    fn changes_by_gosd_are_not_noticed_again() {
        let mut unannounced = unannounced();
        unannounced.note(&Event::Put(Instance::new("mail", "http://h").unwrap()));
        assert!(!unannounced.compare(&look(4, 3, Some("http://a"))).lost);
        unannounced.note(&Event::Remove("go-1".into()));
        assert!(unannounced.compare(&look(3, 3, None)).events.is_empty(), "it is known to be gone");
    }

    #[test]
    fn a_field_that_is_gone_without_a_goodbye_is_lost_once() {
        let mut unannounced = unannounced();
        assert!(unannounced.compare(&look(2, 2, Some("http://a"))).lost);
        assert!(!unannounced.compare(&look(2, 2, Some("http://a"))).lost);
        let after = Snapshot { instances: Vec::new(), surplus: -2, position: "1-1".into() };
        let mut after = Unannounced::beside(&after);
        let mut lacking = look(0, 2, None);
        lacking.records.clear();
        assert!(!after.compare(&lacking).lost, "the snapshot did not have them");
        lacking.fields = 1;
        assert!(!after.compare(&lacking).lost, "one is back");
        lacking.fields = 0;
        assert!(after.compare(&lacking).lost, "and lost again");
    }

    #[test]
    fn the_whole_hash_is_more_than_anybody_deletes() {
        let go = |id: &str| Instance::from_parts(id.into(), "go", "http://a", [].into());
        let instances = vec![go("go-1"), go("go-2")];
        let snapshot = Snapshot { instances, surplus: 2, position: "1-1".into() };
        let mut unannounced = Unannounced::beside(&snapshot);
        let mut nothing = look(0, 0, None);
        nothing.records.insert("go-2".into(), Record::default());
        assert!(unannounced.compare(&nothing).lost);
    }

    #[test]
    fn an_instance_that_had_a_lease_gets_another() {
        let mut unannounced = unannounced();
        let mut leased = look(3, 3, Some("http://a"));
        leased.records.get_mut(&InstanceId::from("go-1")).unwrap().has_lease = true;
        assert!(unannounced.compare(&leased).leaseless.is_empty());
        let findings = unannounced.compare(&look(3, 0, Some("http://a")));
        assert_eq!(findings.leaseless, [InstanceId::from("go-1")]);
        assert!(unannounced.is_searching(), "for the leases of the two others");
    }
}
