//! Which expiries are believed, and when they count.

use super::*;
use crate::registry::grace;

const HOLD: Duration = LEASE.checked_div(2).unwrap();
const GRACE: Duration = Duration::from_millis(500);

#[test]
fn an_expiry_counts_when_its_owner_had_time_to_object() {
    let mut bench = Bench::new();
    bench.reset(&["a-1", "a-2"]);
    bench.pass(HOLD);
    bench.expire("a-1");
    bench.pass(GRACE - TICK);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    assert!(bench.registry.registered_at("a-1").is_empty(), "the backend has it no more");
    bench.pass(TICK);
    assert_eq!(bench.view(), ["a-2"]);
    assert_eq!(bench.registry.expired(), 1);
    assert!(!bench.misses_something(), "nothing has to be read for that");
    assert_eq!(bench.registry.next_expiry(), None);
}

#[test]
fn the_time_to_object_is_a_sixth_of_a_short_lease() {
    assert_eq!(grace(LEASE), GRACE);
    assert_eq!(grace(Duration::from_millis(1_200)), Duration::from_millis(200));
}

#[test]
fn an_instance_whose_lease_was_taken_by_mistake_is_back_before_anybody_drops_it() {
    for back in BACK {
        let mut bench = Bench::settled(&["a-1"]);
        bench.expire("a-1");
        bench.pass(GRACE - TICK);
        back(&mut bench);
        bench.pass(LEASE);
        assert_eq!(bench.view(), ["a-1"]);
        assert_eq!(bench.registry.expired(), 0);
        assert!(!bench.misses_something());
    }
}

#[test]
fn a_second_expiry_gives_no_further_time() {
    let mut bench = Bench::settled(&["a-1"]);
    bench.expire("a-1");
    bench.pass(GRACE - TICK);
    bench.expire("a-1");
    bench.pass(TICK);
    assert!(bench.view().is_empty());
}

#[test]
fn a_goodbye_needs_no_time_even_after_an_expiry() {
    let mut bench = Bench::settled(&["a-1"]);
    bench.expire("a-1");
    bench.remove("a-1");
    assert!(bench.view().is_empty());
    assert_eq!(bench.registry.next_expiry(), None);
}

#[test]
fn the_owner_may_have_objected_unheard_if_contact_breaks_meanwhile() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.expire("a-1");
    bench.lose_contact();
    bench.pass(LEASE);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.read(&["a-2"]);
    bench.look(HOLD - TICK, &["a-2"]);
    assert_eq!(bench.view(), ["a-1", "a-2"]);
    bench.look(TICK, &["a-2"]);
    assert_eq!(bench.view(), ["a-2"]);
}

#[test]
fn a_client_whose_own_lease_is_gone_hurries_to_be_back() {
    let mut bench = Bench::registered("a-own", &["a-1"]);
    bench.read(&["a-1"]);
    assert!(bench.registry.own_is_gone() && !bench.registry.own_has_expired());
    bench.registered_again("a-own");
    bench.expire("a-own");
    assert!(bench.registry.own_has_expired());
    bench.registered_again("a-own");
    assert!(!bench.registry.own_has_expired());
}

#[test]
fn an_expiry_after_a_break_is_no_more_than_an_absence() {
    let breaks: [fn(&mut Bench); 7] = [
        |bench| bench.lose_contact(),
        |bench| drop(bench.reset(&["a-own", "a-1", "a-2"])),
        |bench| bench.registry.registration_failed(bench.now),
        |bench| assert!(bench.registry.wake(bench.now, LEASE)),
        |bench| assert!(bench.expire("a-own").own_gone),
        |bench| assert!(bench.read(&["a-1", "a-2"]).own_gone),
        |bench| {
            bench.registry.begin_read(bench.now);
            bench.registry.abandon_read();
        },
    ];
    for (nth, broken) in breaks.into_iter().enumerate() {
        let mut bench = Bench::registered("a-own", &["a-1", "a-2"]);
        broken(&mut bench);
        bench.pass(HOLD - TICK);
        bench.registered_again("a-own");
        bench.expire("a-1");
        assert_eq!(bench.view(), ["a-1", "a-2", "a-own"], "{nth}");
        bench.look(LEASE, &["a-2", "a-own"]);
        assert_eq!(bench.view(), ["a-2", "a-own"], "{nth}");
    }
}

#[test]
fn an_expiry_a_moment_too_early_is_no_absence_for_half_a_lease() {
    let mut bench = Bench::settled(&["a-1", "a-2"]);
    bench.lose_contact();
    bench.reset(&["a-1", "a-2"]);
    bench.pass(HOLD - TICK);
    bench.expire("a-1");
    bench.look(GRACE - TICK, &["a-2"]);
    assert_eq!(bench.view(), ["a-1", "a-2"], "its owner may object");
    bench.look(TICK, &["a-2"]);
    assert_eq!(bench.view(), ["a-2"]);
}
