//! What a look finds, by looks that are made up.

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
        records: vec![("go-1".into(), record)],
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
    nothing.records.push(("go-2".into(), Record::default()));
    assert!(unannounced.compare(&nothing).lost);
}

#[test]
fn an_instance_that_had_a_lease_is_not_read_again_and_searched_for_once_it_has_none() {
    let mut unannounced = unannounced();
    let mut leased = look(3, 3, Some("http://a"));
    leased.records[0].1.has_lease = true;
    // In the snapshot there was a field without a lease, and it was another one.
    assert!(unannounced.next().1 && !unannounced.compare(&leased).lost);
    assert_eq!(unannounced.next().0, []);
    let mut without = look(3, 0, None);
    without.records.clear();
    assert!(!unannounced.compare(&without).lost && unannounced.is_searching());
}

/// Instances of Go, and instances with leases whose ids do not have gosd's form either.
struct Registry {
    fields: BTreeMap<InstanceId, String>,
    orphans: i64,
}

const GO: usize = 10_000;
const LEASED: usize = 2_000;
/// How many looks it takes to read all instances of Go.
const ROUND: usize = GO / SLICE;

impl Registry {
    /// And a watch that knows them.
    fn of_many() -> (Self, Unannounced) {
        Self::of(GO)
    }

    /// The same with so many instances of Go.
    fn of(count: usize) -> (Self, Unannounced) {
        let go = (0..count).map(|i| format!("go-{i}"));
        let leased = (0..LEASED).map(|i| format!("job-{i}"));
        let ids = go.chain(leased).map(InstanceId::from);
        let all = Self { fields: ids.map(|id| (id, "http://a".into())).collect(), orphans: 0 };
        let instance =
            |id: &InstanceId| Instance::from_parts(id.clone(), "s", "http://a", [].into());
        let instances = all.fields.keys().map(instance).collect();
        let snapshot = Snapshot { instances, surplus: count as i64, position: "1-1".into() };
        let mut unannounced = Unannounced::beside(&snapshot);
        let findings = all.looked_at(&mut unannounced, (count + LEASED).div_ceil(SLICE));
        assert!(findings.events.is_empty() && !findings.lost && !unannounced.is_searching());
        (all, unannounced)
    }

    fn look(&self, unannounced: &mut Unannounced) -> Findings {
        let (ids, with_leases) = unannounced.next();
        assert!(ids.len() <= SLICE);
        let record = |id: InstanceId| {
            let has_lease = with_leases && id.as_str().starts_with("job");
            let url = self.fields.get(&id).cloned();
            (id, Record { url, has_lease, meta: None })
        };
        let mut look = look(self.fields.len() as i64, LEASED as i64 + self.orphans, None);
        look.records = ids.into_iter().map(record).collect();
        unannounced.compare(&look)
    }

    /// Go removes an instance of the slice that was read last.
    fn remove_behind(&mut self, unannounced: &Unannounced) {
        let read = unannounced.read.clone().unwrap();
        let mut before = self.fields.range(..=read).rev().map(|(id, _)| id);
        let id = before.find(|id| id.as_str().starts_with("go")).unwrap().clone();
        self.fields.remove(&id);
    }

    /// All that is found by looks that follow at once, which are this many at most.
    fn looked_at(&self, unannounced: &mut Unannounced, most: usize) -> Findings {
        let mut all = Findings::default();
        for _ in 0..most {
            let findings = self.look(unannounced);
            all.events.extend(findings.events);
            all.lost |= findings.lost;
            if !findings.is_partial {
                return all;
            }
        }
        panic!("more than {most} looks follow at once")
    }
}

#[test]
fn each_of_many_is_read_in_turn() {
    let (mut all, mut unannounced) = Registry::of_many();
    for url in all.fields.values_mut() {
        *url = "http://b".into();
    }
    let mut moved = Vec::new();
    for _ in 0..ROUND {
        // None of them follows the one before at once.
        moved.extend(all.looked_at(&mut unannounced, 1).events);
    }
    let moved: HashSet<_> = moved.iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(moved.len(), GO);
}

#[test]
fn of_many_those_that_are_gone_are_found_at_once() {
    let (mut all, mut unannounced) = Registry::of_many();
    for id in ["go-0", "go-4999", "go-9999"] {
        all.fields.remove(&InstanceId::from(id));
        let findings = all.looked_at(&mut unannounced, ROUND);
        assert!(matches!(&findings.events[..], [Ok(Event::Remove(gone))] if gone.as_str() == id));
        assert!(!findings.lost);
    }
}

#[test]
fn of_many_a_field_is_lost_only_once_all_others_have_been_read() {
    let (mut all, mut unannounced) = Registry::of_many();
    for _ in 0..2 * ROUND {
        all.remove_behind(&unannounced);
        assert!(!all.look(&mut unannounced).lost);
    }
    for _ in 0..2 {
        assert!(!all.looked_at(&mut unannounced, 2 * ROUND).lost);
    }
    assert_eq!(unannounced.others.len(), GO - 2 * ROUND);
    all.orphans = 1;
    assert!(all.looked_at(&mut unannounced, ROUND).lost);
}

#[test]
fn removals_in_every_slice_at_once_are_no_loss() {
    // The next look reads all of them but some.
    let (mut all, mut unannounced) = Registry::of(SLICE + 100);
    let (next, _) = unannounced.next();
    let unread = unannounced.others.keys().find(|id| !next.contains(id)).unwrap().clone();
    for id in next.iter().take(110).chain([&unread]) {
        all.fields.remove(id);
    }
    let findings = all.looked_at(&mut unannounced, 4);
    assert!(!findings.lost && findings.events.len() == 111, "{}", findings.events.len());
}

#[test]
fn one_that_is_back_before_its_removal_is_told_stays() {
    let mut unannounced = unannounced();
    assert!(
        unannounced.compare(&look(3, 2, None)).events.is_empty(),
        "another one is searched for"
    );
    unannounced.note(&Event::Put(Instance::from_parts("go-1".into(), "go", "http://a", [].into())));
    unannounced.search = Search::Idle;
    assert!(unannounced.compare(&look(3, 3, None)).events.is_empty());
}

#[test]
fn looks_follow_at_once_only_for_a_while() {
    let (mut all, mut unannounced) = Registry::of_many();
    let mut in_turn = 0;
    loop {
        all.remove_behind(&unannounced);
        in_turn += 1;
        if !all.look(&mut unannounced).is_partial {
            break;
        }
    }
    assert!(in_turn <= 2 * ROUND, "{in_turn}");
}
