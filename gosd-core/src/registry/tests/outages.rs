//! "An outage of the backend is not an outage of the services."

use super::*;
use crate::View;

#[test]
fn a_wiped_database_empties_nobodys_cache() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    assert!(bench.reset(&[]).own_gone);
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);

    // The live ones are back within a lease, the dead one is not.
    bench.pass(LEASE / 3);
    bench.registry.registered(&of("a-own"));
    bench.put("a-1");
    bench.pass(LEASE - LEASE / 3 - TICK);
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);
    bench.pass(TICK);
    assert_eq!(bench.view(), ["a-1", "a-own"]);
    bench.pass(10 * LEASE);
    assert_eq!(bench.view(), ["a-1", "a-own"]);
}

#[test]
fn a_wiped_database_that_others_are_back_in_is_known_by_the_own_registration() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    let effects = bench.read(&["a-1"]);
    assert!(effects.own_gone && effects.changes.is_empty());
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);
    assert!(bench.registry.own_is_gone());
    bench.registry.registered(&of("a-own"));
    assert!(!bench.registry.own_is_gone());
    bench.pass(LEASE);
    assert_eq!(bench.view(), ["a-1", "a-own"]);
}

#[test]
fn the_first_to_be_back_after_a_wipe_does_not_end_the_time_of_the_others() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.read(&[]);
    bench.pass(LEASE / 3);
    bench.read(&["a-1"]);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.pass(LEASE - LEASE / 3);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn a_heartbeat_during_the_read_does_not_make_a_wiped_database_credible() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    bench.registry.begin_read();
    bench.registry.registered(&of("a-own"));
    let effects = bench.finish_read(&["a-1"]).unwrap();
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);
    assert!(!effects.own_gone, "it has just been renewed");
}

#[test]
fn a_restarted_database_that_kept_its_data_changes_nothing() {
    let mut bench = Bench::settled(&["a-1", "b-1"]);
    bench.lose_contact();
    bench.pass(LEASE / 2);
    assert_eq!(bench.reset(&["b-1", "a-1"]), Effects::default());
    bench.pass(2 * LEASE);
    assert_eq!(bench.view(), ["a-1", "b-1"]);
}

#[test]
fn an_outage_longer_than_the_lease_empties_nobodys_cache() {
    for answer in [&[][..], &["a-1"]] {
        let mut bench = Bench::settled(&["a-1", "a-2"]);
        bench.lose_contact();
        bench.pass(10 * LEASE);
        assert_eq!(bench.view(), ["a-1", "a-2"], "without contact nothing is dropped");
        // Nobody could renew: all leases are over, and some owners are quicker than others.
        bench.reset(answer);
        assert_eq!(bench.view(), ["a-1", "a-2"]);
        bench.pass(LEASE - TICK);
        bench.put("a-2");
        bench.pass(TICK);
        assert!(bench.view().contains(&"a-2".into()));
        assert_eq!(bench.view().len(), 1 + answer.len());
    }
}

#[test]
fn a_goodbye_is_seen_at_once_also_in_a_broken_view() {
    let mut bench = Bench::new();
    bench.reset(&["a-1", "a-2"]);
    bench.remove("a-1");
    assert_eq!(bench.view(), ["a-2"]);
    let effects = bench.remove("a-2");
    assert_eq!(effects.changes, [crate::Change::Removed(Arc::new(of("a-2")))]);
    assert!(bench.view().is_empty(), "scaled to zero");
    assert!(bench.registry.next_sweep().is_none());
}

#[test]
fn a_goodbye_of_what_is_missing_is_seen_at_once() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.read(&[]);
    bench.remove("a-1");
    assert_eq!(bench.view(), ["a-2"]);
}

#[test]
fn an_expiry_is_seen_at_once_in_an_unbroken_view() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.expire("a-1");
    assert_eq!(bench.view(), ["a-2"]);
}

#[test]
fn an_expiry_in_a_broken_view_waits_until_contact_has_held_for_a_lease() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.lose_contact();
    bench.apply(Event::Resumed);
    bench.pass(LEASE - TICK);
    bench.expire("a-1");
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.pass(TICK);
    assert_eq!(bench.view(), ["a-2"]);
}

#[test]
fn an_expiry_of_what_is_missing_does_not_shorten_its_time() {
    let mut bench = Bench::new();
    bench.reset(&["a-1", "a-2"]);
    bench.pass(LEASE / 2);
    bench.read(&[]);
    bench.expire("a-1");
    bench.pass(LEASE - TICK);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.pass(TICK);
    assert!(bench.view().is_empty());
}

#[test]
fn contact_that_has_held_for_less_than_a_lease_is_not_believed() {
    let mut bench = Bench::new();
    bench.reset(&["a-1", "a-2"]);
    bench.pass(LEASE - TICK);
    bench.read(&["a-1"]);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.pass(TICK);
    assert_eq!(bench.view(), ["a-1"], "a lease after the first good read");
}

#[test]
fn an_unbroken_view_drops_at_once_what_is_not_in_a_snapshot() {
    for ask in [Bench::read, Bench::reset] {
        let mut bench = Bench::registered("b-own", &["a-1", "a-2"]);
        ask(&mut bench, &["b-own", "a-2"]);
        assert_eq!(bench.view(), ["a-2", "b-own"]);
    }
}

#[test]
fn a_client_that_only_discovers_believes_what_is_not_empty() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.read(&["a-2"]);
    assert_eq!(bench.view(), ["a-2"]);
    bench.read(&[]);
    assert_eq!(bench.view(), ["a-2"]);
    bench.pass(LEASE / 2);
    bench.read(&[]);
    bench.pass(LEASE / 2 - TICK);
    assert_eq!(bench.view(), ["a-2"]);
    bench.pass(TICK);
    assert!(bench.view().is_empty(), "a lease after the first empty read");
}

#[test]
fn a_client_that_has_left_believes_a_read_without_it() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    bench.registry.begin_read();
    bench.registry.disown();
    assert!(!bench.finish_read(&["a-1"]).unwrap().own_gone);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn a_second_outage_during_the_time_of_grace_begins_it_anew() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.lose_contact();
    bench.pass(LEASE);
    bench.reset(&["a-1"]);
    bench.pass(LEASE / 2);
    bench.lose_contact();
    bench.pass(10 * LEASE);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.apply(Event::Resumed);
    bench.pass(LEASE - TICK);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.pass(TICK);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn what_is_back_in_any_way_is_missing_no_more() {
    let back: [fn(&mut Bench); 3] = [
        |bench| drop(bench.put("a-1")),
        |bench| drop(bench.read(&["a-1"])),
        |bench| drop(bench.reset(&["a-1"])),
    ];
    for back in back {
        let mut bench = Bench::settled(&["a-1"]);
        bench.read(&[]);
        bench.pass(LEASE / 2);
        back(&mut bench);
        bench.pass(10 * LEASE);
        assert_eq!(bench.view(), ["a-1"]);
        // Missing again, it has a whole lease again.
        bench.read(&[]);
        bench.pass(LEASE - TICK);
        assert_eq!(bench.view(), ["a-1"]);
    }
}

#[test]
fn each_loss_of_the_own_registration_is_told() {
    let losses: [fn(&mut Bench) -> Effects; 5] = [
        |bench| bench.remove("a-own"),
        |bench| bench.expire("a-own"),
        |bench| bench.read(&["a-1"]),
        |bench| bench.reset(&["a-1"]),
        |bench| bench.registry.deregistered(&id("a-own")),
    ];
    for lose in losses {
        let mut bench = Bench::registered("a-own", &["a-1"]);
        assert!(!bench.read(&["a-1", "a-own"]).own_gone && !bench.remove("a-2").own_gone);
        assert!(!bench.registry.own_is_gone());
        assert!(lose(&mut bench).own_gone);
        assert!(bench.registry.own_is_gone());
        bench.registry.registered(&of("a-own"));
        assert!(!bench.registry.own_is_gone());
        assert_eq!(bench.view(), ["a-1", "a-own"]);
    }
}

#[test]
fn the_view_tells_since_when_it_is_stale_and_the_latest_reason() {
    let mut bench = Bench::new();
    assert!(matches!(bench.registry.view(), View::Unknown));
    bench.lose_contact();
    assert!(matches!(bench.registry.view(), View::Unknown), "there is nothing to be stale");
    assert!(bench.registry.never_reached().unwrap().is_some());
    bench.reset(&[]);
    assert!(matches!(bench.registry.view(), View::Fresh));
    assert!(bench.registry.never_reached().is_none());
    bench.lose_contact();
    let lost = bench.now.into_std();
    bench.pass(LEASE);
    bench.registry.lose_contact(Error::new(ErrorKind::Timeout, "no answer"), bench.now);
    let View::Stale { since, error } = bench.registry.view() else { panic!("not stale") };
    assert_eq!((since, error.kind()), (lost, ErrorKind::Timeout));
}
