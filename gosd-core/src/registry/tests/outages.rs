//! "An outage of the backend is not an outage of the services."

use super::*;
use crate::View;

const HOLD: Duration = LEASE.checked_div(2).unwrap();

#[test]
fn a_wiped_database_empties_no_cache() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    assert!(bench.reset(&[]).own_gone);
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);
    bench.registered_again("a-own");
    bench.look(LEASE / 3, &["a-own"]);
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);
    // The live ones are back within half a lease, the dead one is not.
    bench.put("a-1");
    bench.look(LEASE, &["a-1", "a-own"]);
    assert_eq!(bench.view(), ["a-1", "a-own"]);
}

#[test]
fn what_is_merely_not_there_is_kept_for_half_a_lease_of_good_contact() {
    for ask in [Bench::read, Bench::reset] {
        let mut bench = Bench::settled(&["a-1", "a-2"]);
        ask(&mut bench, &["a-2"]);
        bench.look(HOLD - TICK, &["a-2"]);
        assert_eq!(bench.view(), ["a-1", "a-2"]);
        bench.look(TICK, &["a-2"]);
        assert_eq!(bench.view(), ["a-2"]);
    }
}

#[test]
fn an_answer_that_comes_late_is_as_old_as_its_question() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.read(&["a-2"]);
    bench.look(HOLD - TICK, &["a-2"]);
    bench.registry.begin_read(bench.now);
    bench.pass(2 * TICK);
    bench.finish_read(&["a-2"]);
    assert_eq!(bench.view(), ["a-1", "a-2"], "what was asked before its time was up");
    bench.read(&["a-2"]);
    assert_eq!(bench.view(), ["a-2"]);
}

#[test]
fn time_alone_drops_nothing() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.read(&["a-2"]);
    bench.pass(100 * LEASE);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.read(&["a-2"]);
    assert_eq!(
        bench.view(),
        ["a-1", "a-2"],
        "what lies between two answers far apart is not known"
    );
}

#[test]
fn an_own_registration_that_is_lacking_is_made_again_before_anything_counts() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    let effects = bench.read(&["a-1"]);
    assert!(effects.own_gone && effects.changes.is_empty());
    assert!(bench.registry.own_is_gone());
    bench.look(10 * LEASE, &["a-1"]);
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);
    bench.registered_again("a-own");
    assert!(!bench.registry.own_is_gone());
    bench.look(LEASE, &["a-1", "a-own"]);
    assert_eq!(bench.view(), ["a-1", "a-own"]);
}

#[test]
fn a_heartbeat_during_the_read_is_not_missed_in_it() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    bench.registry.begin_read(bench.now);
    bench.registered_again("a-own");
    let effects = bench.finish_read(&["a-1"]).unwrap();
    assert_eq!(bench.view(), ["a-1", "a-2", "a-own"]);
    assert!(!effects.own_gone, "it has just been renewed");
}

#[test]
fn a_restarted_database_that_kept_its_data_changes_nothing() {
    let mut bench = Bench::settled(&["a-1", "b-1"]);
    bench.lose_contact();
    bench.pass(HOLD);
    assert_eq!(bench.reset(&["b-1", "a-1"]), Effects::default());
    assert!(!bench.misses_something());
}

#[test]
fn an_outage_longer_than_the_lease_empties_no_cache() {
    for answer in [&[][..], &["a-1"]] {
        let mut bench = Bench::settled(&["a-1", "a-2"]);
        bench.lose_contact();
        bench.pass(10 * LEASE);
        // Nobody could renew: all leases are over, and some owners are quicker than others.
        bench.reset(answer);
        bench.look(HOLD - TICK, answer);
        assert_eq!(bench.view(), ["a-1", "a-2"]);
    }
}

#[test]
fn a_goodbye_counts_at_once_whatever_else_goes_on() {
    let states: [fn(&mut Bench); 5] = [
        |_| {},
        |bench| bench.lose_contact(),
        |bench| bench.registry.registration_failed(bench.now),
        |bench| drop(bench.reset(&[])),
        |bench| assert!(bench.registry.wake(bench.now, LEASE)),
    ];
    for state in states {
        let mut bench = Bench::settled(&["a-1", "a-2"]);
        state(&mut bench);
        bench.remove("a-1");
        assert_eq!(bench.view(), ["a-2"]);
        let effects = bench.remove("a-2");
        assert_eq!(effects.changes, [crate::Change::Removed(Arc::new(of("a-2")))]);
        assert!(bench.view().is_empty(), "scaled to zero");
        assert!(!bench.misses_something());
    }
}

#[test]
fn while_the_own_heartbeats_fail_nobody_is_taken_for_dead() {
    let mut bench = Bench::registered("a-own", &["a-1"]);
    bench.registry.registration_failed(bench.now);
    bench.pass(LEASE);
    bench.expire("a-1");
    bench.expire("a-own");
    bench.look(10 * LEASE, &[]);
    assert_eq!(bench.view(), ["a-1", "a-own"]);
    // The database takes writes again: the living have half a lease.
    bench.registered_again("a-own");
    bench.look(HOLD - TICK, &["a-own"]);
    assert_eq!(bench.view(), ["a-1", "a-own"]);
    bench.look(LEASE, &["a-own"]);
    assert_eq!(bench.view(), ["a-own"]);
}

#[test]
fn good_time_adds_up_over_breaks() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.read(&["a-2"]);
    // A stretch that is broken off counts for a sixth of a lease less: here for a twelfth.
    for _ in 0..2 {
        bench.look(LEASE / 4, &["a-2"]);
        bench.lose_contact();
        bench.pass(LEASE);
        bench.read(&["a-2"]);
    }
    bench.look(LEASE / 3 - TICK, &["a-2"]);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.look(TICK, &["a-2"]);
    assert_eq!(bench.view(), ["a-2"]);
}

#[test]
fn stretches_too_short_for_a_retry_count_for_nothing() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.read(&["a-2"]);
    for _ in 0..1_000 {
        bench.look(LEASE / 6, &["a-2"]);
        bench.lose_contact();
        bench.pass(TICK);
        bench.read(&["a-2"]);
    }
    assert_eq!(bench.view(), ["a-1", "a-2"]);
}

#[test]
fn what_is_back_in_any_way_is_missing_no_more() {
    for back in BACK {
        let mut bench = Bench::settled(&["a-1"]);
        bench.read(&[]);
        bench.look(HOLD - TICK, &[]);
        back(&mut bench);
        assert!(!bench.misses_something());
        // Missing again, it has its whole time again.
        bench.read(&[]);
        bench.look(HOLD - TICK, &[]);
        assert_eq!(bench.view(), ["a-1"]);
    }
}

#[test]
fn a_process_that_stands_still_is_noticed_by_either_clock() {
    let mut bench = Bench::settled(&["a-1"]);
    assert!(!bench.registry.wake(bench.now, Duration::ZERO), "the first look");
    bench.pass(LEASE / 6);
    assert!(!bench.registry.wake(bench.now, LEASE / 6));
    bench.pass(LEASE / 6 + TICK);
    assert!(bench.registry.wake(bench.now, Duration::ZERO));
    assert!(bench.registry.wake(bench.now, LEASE / 6 + TICK));
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
        bench.registered_again("a-own");
        assert!(!bench.registry.own_is_gone());
        assert_eq!(bench.view(), ["a-1", "a-own"]);
    }
}

#[test]
fn a_client_that_has_left_does_not_miss_itself() {
    let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
    bench.registry.begin_read(bench.now);
    bench.registry.disown(bench.now);
    assert!(!bench.finish_read(&["a-1"]).unwrap().own_gone);
    bench.look(LEASE, &["a-1"]);
    assert_eq!(bench.view(), ["a-1"]);
}

#[test]
fn the_view_tells_the_last_contact_and_the_latest_reason() {
    let mut bench = Bench::new();
    assert!(matches!(bench.registry.view(), View::Unknown));
    bench.lose_contact();
    assert!(matches!(bench.registry.view(), View::Unknown), "there is nothing to be stale");
    assert!(bench.registry.never_reached().unwrap().is_some());
    bench.read(&[]);
    let heard = bench.now;
    assert!(matches!(bench.registry.view(), View::Fresh));
    assert!(bench.registry.never_reached().is_none());
    assert_eq!(bench.registry.aging_since(), Some(heard));
    bench.pass(LEASE);
    bench.lose_contact();
    bench.pass(LEASE);
    bench.registry.lose_contact(Error::new(ErrorKind::Timeout, "no answer"), bench.now);
    let View::Stale { since, error } = bench.registry.view() else { panic!("not stale") };
    assert_eq!((since, error.kind()), (heard.into_std(), ErrorKind::Timeout));
    assert_eq!(bench.registry.aging_since(), Some(heard));
}

#[test]
fn a_watch_that_was_up_was_in_contact_until_ten_seconds_before_its_failure() {
    let mut bench = Bench::settled(&[]);
    assert_eq!(bench.registry.aging_since(), None);
    bench.pass(LEASE);
    bench.lose_contact();
    let last = bench.now - Duration::from_secs(10);
    assert_eq!(bench.registry.aging_since(), Some(last));
}

#[test]
fn what_comes_with_a_failure_counts_and_is_no_sign_of_contact() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    let events = vec![Event::Put(of("a-3")), Event::Remove(id("a-2")), Event::Expire(id("a-1"))];
    bench.registry.apply_in_part(events, bench.now);
    assert_eq!(bench.view(), ["a-1", "a-3"], "it may live where nothing is heard");
    bench.lose_contact();
    bench.pass(LEASE);
    let since = match bench.registry.view() {
        View::Stale { since, .. } => since,
        view => panic!("{view:?}"),
    };
    bench.registry.apply_in_part(vec![Event::Reset(all_of(&["a-3"]))], bench.now);
    bench.lose_contact();
    assert_eq!(bench.view(), ["a-1", "a-3"]);
    assert!(matches!(bench.registry.view(), View::Stale { since: now, .. } if now == since));
}

#[test]
fn a_part_that_is_heard_first_is_shown_and_is_not_all() {
    let mut bench = Bench::new();
    bench.registry.apply_in_part(vec![Event::Reset(all_of(&["a-1"]))], bench.now);
    bench.lose_contact();
    assert_eq!(bench.view(), ["a-1"]);
    assert!(matches!(bench.registry.view(), View::Stale { .. }));
    assert!(bench.registry.never_reached().is_some(), "who is not in it may be in the rest");
}
