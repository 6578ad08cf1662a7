//! The seeds that every run of the tests plays, and a table of the rules without which a seed fails.
//!
//! ```sh
//! cargo test -p gosd-core simulation
//! # One seed again, with a log of every event:
//! GOSD_SIMULATION_SEED=7 cargo test -p gosd-core simulation -- --nocapture
//! # Random seeds for an hour:
//! GOSD_SIMULATION_MINUTES=60 cargo test --release -p gosd-core --lib simulation -- --nocapture
//! ```

use std::thread;
use std::time::{Duration, Instant};

use super::database::Database;
use super::faults::THEMES;
use super::oracle::Oracle;
use super::{SERVICE, Watching, play, play_with_log};
use crate::rules::Rule;
use crate::{Instance, Settings};

/// The seeds of every run, in two halves that run in parallel.
const SEEDS: u64 = 240;
const HALF: u64 = SEEDS / 2;
const BOTH: [Watching; 2] = [Watching::Everything, Watching::OnDemand];

#[test]
fn the_first_half_of_the_seeds_holds() {
    judge_unless_asked(0..HALF, Watching::Everything);
}

#[test]
fn the_second_half_of_the_seeds_holds() {
    judge_unless_asked(HALF..SEEDS, Watching::Everything);
}

/// The same properties hold of the services that clients are asked for, if they watch no others.
#[test]
fn seeds_of_clients_that_watch_on_demand_hold() {
    judge_unless_asked(0..HALF, Watching::OnDemand);
}

/// Does nothing unless the environment asks for a seed or for a number of minutes.
#[test]
fn the_seeds_that_were_asked_for_hold() {
    if let Some(seed) = variable("GOSD_SIMULATION_SEED") {
        for watching in BOTH {
            let (outcome, log) = play_with_log(seed, watching);
            println!("{watching:?}");
            log.iter().for_each(|line| println!("{line}"));
            assert_eq!(outcome, Ok(()));
        }
    }
    if let Some(minutes) = variable("GOSD_SIMULATION_MINUTES") {
        let ends_at = Instant::now() + Duration::from_secs(60 * minutes);
        let first = fastrand::u64(..u64::MAX / 2);
        let mut failures = 0;
        let mut seed = first;
        while Instant::now() < ends_at {
            for failure in
                BOTH.map(|watching| judge(seed, watching)).into_iter().filter_map(Result::err)
            {
                println!("{failure}");
                failures += 1;
            }
            seed += 1;
        }
        println!("{} seeds from {first} on: {failures} fail", seed - first);
        assert_eq!(failures, 0);
    }
}

fn judge_unless_asked(mut seeds: std::ops::Range<u64>, watching: Watching) {
    let is_asked = ["GOSD_SIMULATION_SEED", "GOSD_SIMULATION_MINUTES"].map(variable);
    if is_asked.iter().all(Option::is_none) {
        assert_eq!(seeds.try_for_each(|seed| judge(seed, watching)), Ok(()));
    }
}

fn judge(seed: u64, watching: Watching) -> Result<(), String> {
    play(seed, watching).map_err(|failure| {
        format!(
            "{watching:?}: {failure}; play it again: GOSD_SIMULATION_SEED={seed} cargo test -p gosd-core simulation"
        )
    })
}

/// The property that a broken rule violates.
const DROPS: &str = "which lives";
const KEEPS: &str = "too long";

/// Each rule, the property that fails without it, and a seed that shows the failure.
///
/// A change of the clients or of the world changes the meaning of the seeds. The test then searches another
/// seed of the same theme, which takes a while, and prints its number: put that number here.
const MUTANTS: [(Rule, &str, u64); 17] = [
    (Rule::ExpiryNeedsGoodContact, DROPS, 184),
    (Rule::OwnersMayObject, DROPS, 0),
    (Rule::HoldTheMissing, DROPS, 13),
    (Rule::HoldAddsUp, KEEPS, 6),
    (Rule::BrokenStretchesLose, DROPS, 14881),
    (Rule::FarAnswersDoNotCount, DROPS, 1006),
    (Rule::OwnHeartbeatsCount, DROPS, 17),
    (Rule::FreezesCount, DROPS, 228),
    (Rule::ResetsBeginAnew, DROPS, 1372),
    (Rule::LossBreaks, DROPS, 1993),
    (Rule::ResetsSupersede, KEEPS, 47),
    (Rule::EventsGoBeforeReads, KEEPS, 27),
    (Rule::GoodbyesCount, KEEPS, 0),
    (Rule::OnlyAnswersCount, DROPS, 3874),
    (Rule::LateAnswersAreOld, DROPS, 9406),
    (Rule::HeartbeatsAreBounded, DROPS, 40),
    (Rule::PausesAreShort, DROPS, 58),
];

/// How many seeds are searched for one that fails without the rule.
const SEARCHED: usize = 1000;

#[test]
fn without_any_one_rule_a_seed_fails() {
    for (rule, becomes, seed) in MUTANTS {
        let shows = |seed: &u64| {
            Rule::set_broken(Some(rule));
            let failure = play(*seed, Watching::Everything);
            Rule::set_broken(None);
            // With the rule, the same seed passes.
            failure.is_err_and(|failure| failure.contains(becomes))
                && play(*seed, Watching::Everything).is_ok()
        };
        let same_theme = (seed % THEMES.len() as u64..).step_by(THEMES.len()).take(SEARCHED);
        let found = std::iter::once(seed).chain(same_theme).find(shows);
        let found = found.unwrap_or_else(|| panic!("without {rule:?} every seed holds, too"));
        if found != seed {
            println!("without {rule:?} it is seed {found} that fails now, and not {seed}");
        }
    }
}

/// Judges a drop of process 1 by process 0. Both were well, and 0 hears the database after so much time.
fn judge_a_drop(
    heard_after: Duration,
    trouble: impl FnOnce(&mut Oracle, &mut Database, tokio::time::Instant),
) -> Option<String> {
    let settings = Settings::default();
    let (lease, began) = (settings.lease_ttl, tokio::time::Instant::now());
    let mut oracle = Oracle::new(&settings, None, began);
    oracle.add(true, lease, began);
    oracle.add(true, lease, began);
    let mut database = Database::new(lease, false, began);
    let instance = Instance::new(SERVICE, "http://10.0.0.1").expect("it is good");
    database.register(1, &instance, began);
    oracle.check(0, [1].into(), &database, began);
    trouble(&mut oracle, &mut database, began);
    let now = began + heard_after;
    oracle.hear(0, now);
    oracle.check(0, [].into(), &database, now);
    oracle.failure
}

#[tokio::test(start_paused = true)]
async fn the_frozen_are_not_dropped_before_the_end_of_their_lease() {
    let lease = Settings::default().lease_ttl;
    let judge = |after| judge_a_drop(after, |oracle, _, now| oracle.freeze(1, now));
    assert!(judge(lease - Duration::from_millis(1)).is_some());
    assert_eq!(judge(lease), None);
}

#[tokio::test(start_paused = true)]
async fn who_only_does_not_hear_is_as_present_as_anybody() {
    let judge = |outward| {
        judge_a_drop(Duration::from_secs(1), |oracle, database, now| {
            oracle.cut(1, outward, now);
            database.restore([].into(), now);
        })
    };
    assert!(judge(false).is_some());
    assert_eq!(judge(true), None);
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for seed in 0..THEMES.len() as u64 {
        let watching = BOTH[(seed % 2) as usize];
        let first = play_with_log(seed, watching);
        // On another thread, so that no state of a thread can influence the run.
        let second = thread::spawn(move || play_with_log(seed, watching)).join().expect("it plays");
        for (number, (one, other)) in first.1.iter().zip(&second.1).enumerate() {
            assert_eq!(one, other, "seed {seed}, line {number}");
        }
        assert_eq!(first, second, "seed {seed}");
    }
}

#[expect(clippy::disallowed_methods, reason = "it is for those who run the tests")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a whole number"))
}
