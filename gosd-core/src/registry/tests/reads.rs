//! "Reads and events do not race", and what instances, snapshots and local entries can be.

use super::*;
use crate::Change;
use crate::contract::DRAIN;
use crate::registry::Scope;
use crate::registry::rotation::Standing;

#[test]
fn what_came_during_the_read_stays() {
    let mut bench = Bench::settled(&["a-1"]);
    bench.registry.begin_read(bench.now);
    bench.put("a-2");
    bench.finish_read(&["a-1"]);
    assert!(!bench.misses_something());
    bench.read(&["a-1"]);
    assert!(bench.misses_something(), "the next read counts");
}

#[test]
fn what_left_during_the_read_does_not_come_back() {
    let mut bench = Bench::settled(&["a-1", "a-2", "a-3", "a-4"]);
    bench.registry.begin_read(bench.now);
    bench.remove("a-2");
    bench.expire("a-3");
    bench.registry.deregistered(&id("a-4"));
    bench.finish_read(&["a-1", "a-2", "a-3", "a-4"]);
    bench.pass(LEASE);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn what_changed_during_the_read_stays_as_the_event_says() {
    let mut bench = Bench::settled(&["a-1"]);
    bench.registry.begin_read(bench.now);
    bench.apply(Event::Put(instance("a-1", "a", "new")));
    assert_eq!(bench.finish_read(&["a-1"]), Some(Effects::default()));
    assert_eq!(bench.directory.instances("a")[0].url(), "new");
}

#[test]
fn what_expired_in_a_broken_view_during_the_read_stays_missing() {
    let mut bench = Bench::new();
    bench.reset(&["a-1", "a-2"]);
    bench.registry.begin_read(bench.now);
    bench.expire("a-1");
    bench.finish_read(&["a-1", "a-2"]);
    assert!(bench.misses_something());
    bench.look(LEASE, &["a-2"]);
    assert_eq!(bench.view(), ["a-2"]);
}

#[test]
fn the_own_registration_made_during_the_read_is_not_missing_in_it() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.registry.begin_read(bench.now);
    bench.registered_again("a-own");
    let effects = bench.finish_read(&["a-1"]).unwrap();
    assert!(!effects.own_gone);
    bench.look(LEASE, &["a-1", "a-own"]);
    assert_eq!(bench.view(), ["a-1", "a-own"], "the read is as good as any");
}

#[test]
fn a_snapshot_of_the_watch_goes_before_the_read_that_it_overtook() {
    let mut bench = Bench::settled(&["a-1"]);
    bench.registry.begin_read(bench.now);
    bench.reset(&["a-1", "a-2"]);
    assert_eq!(bench.finish_read(&["a-1"]), None);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    assert!(!bench.misses_something());
}

#[test]
fn events_before_the_read_and_of_a_read_that_failed_do_not_count() {
    let mut bench = Bench::settled(&["a-1"]);
    bench.put("a-2");
    bench.read(&["a-1"]);
    assert!(bench.misses_something());
    bench.registry.begin_read(bench.now);
    bench.put("a-2");
    assert!(!bench.misses_something());
    bench.registry.abandon_read();
    bench.read(&["a-1"]);
    assert!(bench.misses_something());
}

#[test]
fn a_failed_read_changes_nothing() {
    let mut bench = Bench::settled(&["a-1"]);
    bench.registry.begin_read(bench.now);
    bench.registry.abandon_read();
    bench.lose_contact();
    bench.pass(100 * LEASE);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn the_last_of_duplicates_in_a_snapshot_counts() {
    let mut bench = Bench::settled(&["b-1"]);
    let twice = [instance("a-1", "a", "old"), of("b-1"), instance("a-1", "a", "new")];
    bench.apply(Event::Reset(twice.to_vec()));
    assert_eq!(bench.view(), ["a-1", "b-1"]);
    assert_eq!(bench.directory.instances("a")[0].url(), "new");
}

#[test]
fn an_instance_that_moves_is_in_one_service_at_a_time() {
    let mut bench = Bench::settled(&["a-1", "a-2", "a-3"]);
    let moved = instance("a-1", "b", "a-1");
    let effects = bench.apply(Event::Put(moved.clone()));
    assert_eq!(effects.changes, [Change::Updated(Arc::new(moved.clone()))]);
    assert_eq!(*bench.directory.instances("b")[0], moved);
    assert_eq!(bench.directory.instances("a").len(), 2);

    bench.put("a-1");
    assert_eq!(bench.directory.names(), ["a"]);
    assert_eq!(bench.view(), ["a-1", "a-2", "a-3"]);
}

#[test]
fn an_update_keeps_the_place_in_the_rotation() {
    let mut bench = Bench::settled(&["a-1", "a-2", "a-3"]);
    let before = bench.directory.instances("a");
    let updated = of(before[1].id().as_str()).with_metadata("weight", "2");
    let effects = bench.apply(Event::Put(updated.clone()));
    assert_eq!(effects.changes, [Change::Updated(Arc::new(updated.clone()))]);
    let after = bench.directory.instances("a");
    assert_eq!(*after[1], updated);
    assert!(after[0] == before[0] && after[2] == before[2]);
    assert_eq!(bench.apply(Event::Put(updated)), Effects::default(), "no news");
}

#[test]
fn the_events_of_others_do_not_touch_local_entries() {
    let mut bench = Bench::settled(&["a-1"]);
    let (local, effects) = bench.registry.add_local("a", "http://10.0.0.7").unwrap();
    assert_eq!(effects.changes.len(), 1);
    let entry = bench.registry.known.get(&local).unwrap().clone();
    bench.apply(Event::Put(instance(local.as_str(), "b", "elsewhere")));
    bench.remove(local.as_str());
    bench.expire(local.as_str());
    bench.reset(&[]);
    bench.read(&["a-1"]);
    bench.registry.deregistered(&local);
    bench.pass(10 * LEASE);
    assert_eq!(bench.view().len(), 2);
    assert!(bench.directory.instances("a").contains(&entry));
    assert!(bench.registry.registered_at("http://10.0.0.7").is_empty());
    assert_eq!(bench.registry.remove_local(&local).unwrap().changes, [Change::Removed(entry)]);
    assert_eq!(bench.registry.remove_local(&local), None);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn the_same_local_entry_twice_is_one() {
    let mut bench = Bench::new();
    let (first, _) = bench.registry.add_local("a", "http://10.0.0.7").unwrap();
    let (again, effects) = bench.registry.add_local("a", "http://10.0.0.7").unwrap();
    assert_eq!((&again, effects), (&first, Effects::default()));
    let (other, _) = bench.registry.add_local("b", "http://10.0.0.7").unwrap();
    assert_ne!(other, first);
    assert!(bench.registry.add_local("a b", "http://10.0.0.7").is_err());
    assert!(bench.registry.remove_local(&id("a-1")).is_none(), "that is none of them");
}

#[test]
fn what_is_missing_is_not_in_the_backend_to_be_removed() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    assert_eq!(bench.registry.registered_at("a-1"), [id("a-1")]);
    bench.read(&[]);
    assert!(bench.registry.registered_at("a-1").is_empty());
}

#[test]
fn a_view_from_before_is_served_until_the_backend_is_read_and_then_has_its_time() {
    let mut bench = Bench::new();
    bench.registry.seed(all_of(&["a-1", "a-2"]), &Scope::Everything, bench.now);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.pass(10 * LEASE);
    bench.read(&["a-2", "a-3"]);
    assert_eq!(bench.view(), ["a-1", "a-2", "a-3"]);
    bench.look(LEASE, &["a-2", "a-3"]);
    assert_eq!(bench.view(), ["a-2", "a-3"]);
    bench.registry.seed(all_of(&["a-1"]), &Scope::Everything, bench.now);
    assert_eq!(bench.view(), ["a-2", "a-3"], "too late");
}

#[test]
fn beside_a_part_that_is_heard_a_view_from_before_has_the_rest() {
    type Step = fn(&mut Bench);
    let seed: Step = |bench| {
        let drain = Instance::drain_of(&id("a-1"));
        let all = vec![instance("a-1", "a", "old"), of("a-2"), of("a-3"), of("b-1"), drain];
        let asked = Scope::Only(["a", DRAIN].map(Into::into).into());
        bench.registry.seed(all, &asked, bench.now);
    };
    let part: Step = |bench| {
        let goodbyes = ["a-2", "b-1"].map(|gone| Event::Remove(id(gone)));
        let events = [Event::Reset(all_of(&["a-1", "a-2", "a-4"]))].into_iter().chain(goodbyes);
        bench.registry.apply_in_part(events.collect(), bench.now);
        bench.lose_contact();
    };
    for steps in [[seed, part], [part, seed]] {
        let mut bench = Bench::new();
        let settings = settings().snapshot_path("view".into());
        bench.registry = Registry::new(&settings, Arc::clone(&bench.directory));
        steps.iter().for_each(|step| step(&mut bench));
        bench.registry.show_asked(&Scope::Everything);
        assert_eq!(bench.view(), ["a-1", "a-3", "a-4"], "whoever has said goodbye is gone");
        assert_eq!(bench.registry.url_of(&id("a-1")), Some("a-1"), "what is heard is newer");
        assert!(bench.directory.that_are(Standing::Drained).is_empty(), "that drain has ended");
        bench.pass(10 * LEASE);
        bench.reset(&["a-1", "a-4"]);
        bench.look(LEASE / 2 - TICK, &["a-1", "a-4"]);
        assert_eq!(bench.view(), ["a-1", "a-3", "a-4"]);
        bench.look(LEASE, &["a-1", "a-4"]);
        assert_eq!(bench.view(), ["a-1", "a-4"]);
    }
}

#[test]
fn a_view_that_a_reader_lets_go_of_is_freed_by_the_writer() {
    let mut bench = Bench::settled(&["a-1"]);
    let seen = arc_swap::Guard::into_inner(bench.directory.services());
    let old = Arc::downgrade(&seen);
    for _ in 0..3 {
        bench.remove("a-1");
        bench.put("a-1");
    }
    drop(seen);
    assert!(old.upgrade().is_some(), "the reader was not the last");
    bench.registry.wake(bench.now, Duration::ZERO);
    assert!(old.upgrade().is_none());
}
