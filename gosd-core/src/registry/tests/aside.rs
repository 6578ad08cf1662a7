//! Who is left out of the rotation, case by case.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Bench, all_of, id, of};
use crate::registry::Standing;
use crate::{Change, Event, Instance, Outcome};

const AFTER: usize = 3;
const TIME: Duration = Duration::from_secs(5);
const IDS: [&str; 5] = ["a-1", "a-2", "a-3", "a-4", "a-5"];
const FAILURES: [Outcome; 2] = [Outcome::Unreachable, Outcome::Refused];

impl Bench {
    fn report(&mut self, of: &str, outcome: Outcome) -> Vec<Change> {
        self.registry.report(&id(of), outcome, self.now).changes
    }

    fn fail(&mut self, of: &str, times: usize) {
        for _ in 0..times {
            self.report(of, Outcome::Unreachable);
        }
    }

    fn drain(&mut self, target: &str) -> Vec<Change> {
        self.apply(Event::Put(drain(target))).changes
    }

    fn undrain(&mut self, target: &str) -> Vec<Change> {
        self.apply(Event::Remove(drain(target).id().clone())).changes
    }

    fn that_are(&self, standing: Standing) -> BTreeSet<String> {
        self.directory.that_are(standing).iter().map(|it| it.id().to_string()).collect()
    }

    fn ejected(&self) -> BTreeSet<String> {
        self.that_are(Standing::Ejected)
    }

    fn in_rotation(&self) -> BTreeSet<String> {
        let picked = (0..10).filter_map(|_| self.directory.pick("a"));
        picked.map(|it| it.id().to_string()).collect()
    }
}

fn drain(target: &str) -> Instance {
    Instance::drain_of(&id(target))
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// What happens where so many fail all the time, and everybody is asked in turn.
#[test]
fn of_so_many_so_many_fail() {
    for n in 1..=IDS.len() {
        for dead in 0..=n {
            for outcome in FAILURES {
                let mut bench = Bench::settled(&IDS[..n]);
                for _ in 0..20 {
                    for (i, it) in IDS[..n].iter().enumerate() {
                        let outcome = if i < dead { outcome } else { Outcome::Answered };
                        bench.report(it, outcome);
                    }
                }
                let expected = match outcome {
                    // All of them is as good as none.
                    _ if dead == n => 0,
                    Outcome::Refused if 2 * dead > n => 0,
                    _ => dead,
                };
                let case = format!("{dead} of {n} {outcome:?}");
                assert_eq!(bench.ejected(), set(&IDS[..expected]), "{case}");
                assert_eq!(bench.in_rotation(), set(&IDS[expected..n]), "{case}");
                assert_eq!(bench.view(), IDS[..n], "{case}");
            }
        }
    }
}

#[test]
fn failures_in_a_row_eject_and_an_answer_ends_the_row() {
    let mut bench = Bench::settled(&IDS[..2]);
    bench.fail("a-1", AFTER - 1);
    bench.report("a-1", Outcome::Answered);
    bench.fail("a-1", AFTER - 1);
    assert_eq!(bench.ejected(), set(&[]));
    let changes = bench.report("a-1", Outcome::Unreachable);
    assert_eq!(changes, [Change::Ejected(of("a-1").into())]);
    // A request that was under way has its answer.
    let changes = bench.report("a-1", Outcome::Answered);
    assert_eq!(changes, [Change::Readmitted(of("a-1").into())]);
    assert!(!bench.registry.is_anybody_failing());
    bench.fail("nobody", 100);
    assert!(!bench.registry.is_anybody_failing());
}

#[test]
fn each_time_takes_twice_as_long_up_to_a_minute() {
    let mut bench = Bench::settled(&IDS[..2]);
    bench.fail("a-1", AFTER - 1);
    for time in [5, 10, 20, 40, 60, 60].map(Duration::from_secs) {
        // On probation one failure is enough.
        assert_eq!(bench.report("a-1", Outcome::Unreachable).len(), 1);
        let due = bench.registry.next_readmission().unwrap() - bench.now;
        assert!(time <= due && due <= time.mul_f64(1.2), "{due:?} for {time:?}");
        bench.report("a-1", Outcome::Unreachable);
        bench.pass(due - Duration::from_nanos(1));
        assert_eq!(bench.registry.readmit_due(bench.now).changes, []);
        bench.pass(Duration::from_nanos(1));
        let changes = bench.registry.readmit_due(bench.now).changes;
        assert_eq!(changes, [Change::Readmitted(of("a-1").into())]);
        assert_eq!(bench.registry.next_readmission(), None);
    }
    bench.report("a-1", Outcome::Answered);
    bench.fail("a-1", AFTER - 1);
    assert_eq!(bench.ejected(), set(&[]), "an answer ends the probation");
}

#[test]
fn who_is_cut_off_from_all_has_all_back_until_somebody_answers() {
    let mut bench = Bench::settled(&IDS[..3]);
    for it in &IDS[..2] {
        bench.fail(it, AFTER);
    }
    bench.fail("a-3", AFTER - 1);
    assert_eq!(bench.in_rotation(), set(&["a-3"]));
    let changes = bench.report("a-3", Outcome::Unreachable);
    assert_eq!(changes.len(), 2, "{changes:?}");
    for it in IDS[..3].iter().cycle().take(100) {
        assert_eq!(bench.report(it, Outcome::Unreachable), []);
    }
    bench.report("a-2", Outcome::Answered);
    bench.fail("a-1", AFTER);
    assert_eq!(bench.ejected(), set(&["a-1"]));
}

#[test]
fn a_new_record_forgets_everything() {
    for news in [
        Event::Put(of("a-1").with_metadata("n", "1")),
        Event::Remove(id("a-1")),
        Event::Put(super::instance("a-1", "b", "u")),
    ] {
        let mut bench = Bench::settled(&IDS[..2]);
        bench.fail("a-1", AFTER);
        bench.apply(Event::Put(of("a-1")));
        assert_eq!(bench.ejected(), set(&["a-1"]), "a heartbeat is no new record");
        bench.apply(news);
        assert!(!bench.registry.is_anybody_failing());
        assert_eq!(bench.ejected(), set(&[]));
    }
}

#[test]
fn a_service_that_is_gone_is_not_cut_off_any_more() {
    let mut bench = Bench::settled(&IDS[..1]);
    bench.fail("a-1", AFTER);
    assert!(bench.registry.is_anybody_failing());
    bench.remove("a-1");
    assert!(!bench.registry.is_anybody_failing());
}

#[test]
fn never_is_never() {
    let mut bench = Bench::settled(&IDS[..2]);
    bench.registry.ejection = super::super::Ejection::new(0, TIME);
    bench.fail("a-1", 1_000);
    assert_eq!(bench.ejected(), set(&[]));
    assert!(!bench.registry.is_anybody_failing());
}

#[test]
fn a_drain_and_its_target_come_and_go_in_any_order() {
    let mut bench = Bench::settled(&IDS[..2]);
    assert_eq!(bench.drain("a-1"), [Change::Drained(of("a-1").into())]);
    assert_eq!(bench.in_rotation(), set(&["a-2"]));
    assert_eq!(bench.directory.instances("a").len(), 2);
    assert_eq!(bench.directory.names(), ["a"]);
    let changes = bench.apply(Event::Put(of("a-1").with_metadata("n", "1"))).changes;
    assert!(matches!(changes[..], [Change::Updated(_)]), "{changes:?}");
    bench.remove("a-1");
    let changes = bench.put("a-1").changes;
    assert_eq!(changes, [Change::Added(of("a-1").into()), Change::Drained(of("a-1").into())]);
    assert_eq!(bench.undrain("a-1"), [Change::Readmitted(of("a-1").into())]);
    assert_eq!(bench.in_rotation(), set(&IDS[..2]));
}

#[test]
fn a_service_of_which_all_are_drained_is_there_and_has_nobody_to_pick() {
    let mut bench = Bench::settled(&IDS[..2]);
    bench.drain("a-1");
    bench.drain("a-2");
    assert!(bench.directory.pick("a").is_none());
    assert_eq!(bench.directory.names(), ["a"]);
    // The first to be ejected would be the last in rotation, if drained ones counted.
    bench.undrain("a-1");
    bench.fail("a-1", 100);
    assert_eq!(bench.in_rotation(), set(&["a-1"]));
}

#[test]
fn who_was_ejected_is_back_when_nobody_else_is_left() {
    for leave in [
        |bench: &mut Bench| bench.remove("a-3").changes,
        |bench: &mut Bench| bench.drain("a-3"),
        |bench: &mut Bench| bench.apply(Event::Put(super::instance("a-3", "b", "u"))).changes,
    ] {
        let mut bench = Bench::settled(&IDS[..3]);
        bench.fail("a-1", AFTER);
        bench.fail("a-2", AFTER);
        let back: BTreeSet<_> = leave(&mut bench)
            .into_iter()
            .filter_map(|change| match change {
                Change::Readmitted(it) => Some(it.id().to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(back, set(&IDS[..2]));
        assert_eq!(bench.in_rotation(), set(&IDS[..2]));
        assert_eq!(bench.registry.next_readmission(), None);
    }
}

#[test]
fn a_drain_ends_an_ejection() {
    let mut bench = Bench::settled(&IDS[..3]);
    bench.fail("a-1", AFTER);
    assert_eq!(bench.drain("a-1"), [Change::Drained(of("a-1").into())]);
    bench.fail("a-1", AFTER);
    assert_eq!(bench.report("a-1", Outcome::Answered), []);
    assert_eq!(bench.registry.next_readmission(), None);
    assert_eq!(bench.undrain("a-1"), [Change::Readmitted(of("a-1").into())]);
}

#[test]
fn a_list_that_lacks_what_it_drains_says_goodbye() {
    let mut bench = Bench::settled(&IDS[..3]);
    bench.registry.begin_read(bench.now);
    let mut all = all_of(&["a-2"]);
    all.push(drain("a-1"));
    bench.registry.finish_read(all, bench.now).unwrap();
    assert_eq!(bench.view(), ["a-2", "a-3"], "and only then");
    // The drain was there before, and is not in this list.
    bench.put("a-1");
    bench.registry.begin_read(bench.now);
    bench.registry.finish_read(all_of(&["a-2"]), bench.now).unwrap();
    assert_eq!(bench.view(), ["a-1", "a-2", "a-3"]);
    // A drain that is missing itself is over: what it kept out of the rotation may be alive.
    assert_eq!(bench.that_are(Standing::Drained), set(&[]));
}

#[test]
fn a_url_of_a_drain_is_nobodys() {
    let mut bench = Bench::settled(&IDS[..1]);
    bench.drain("a-1");
    assert_eq!(bench.registry.registered_at(drain("a-1").url()), []);
}

proptest! {
    /// Whoever refuses, half of the service stays; and somebody stays whatever happens.
    #[test]
    fn enough_stay_in_rotation(
        n in 1..=IDS.len(),
        reports in vec((select(&IDS[..]), select(&FAILURES[..]), 0..8_u8), 0..80),
        refused_alone in any::<bool>(),
    ) {
        let mut bench = Bench::settled(&IDS[..n]);
        for (it, outcome, kind) in reports {
            match (kind, refused_alone) {
                (0, _) => { bench.report(it, Outcome::Answered); }
                (1, _) => {
                    bench.pass(TIME);
                    bench.registry.readmit_due(bench.now);
                }
                (_, true) => { bench.report(it, Outcome::Refused); }
                (_, false) => { bench.report(it, outcome); }
            }
            let least = if refused_alone { n.div_ceil(2) } else { 1 };
            prop_assert!(n - bench.ejected().len() >= least);
            prop_assert_eq!(bench.in_rotation().len(), n - bench.ejected().len());
        }
    }

    /// In whatever order the answers of many tasks are told, the end is the same.
    #[test]
    fn answers_may_come_in_any_order(
        failures in vec(select(&IDS[..]), 0..20),
        answers in vec(select(&IDS[..]), 0..10).prop_flat_map(|answers| {
            (Just(answers.clone()), Just(answers).prop_shuffle())
        }),
    ) {
        let (one, other) = answers;
        let end = |answers: Vec<&str>| {
            let mut bench = Bench::settled(&IDS);
            for it in &failures {
                bench.report(it, Outcome::Unreachable);
            }
            for it in answers {
                bench.report(it, Outcome::Answered);
            }
            (bench.ejected(), bench.registry.is_anybody_failing())
        };
        prop_assert_eq!(end(one), end(other));
    }
}
