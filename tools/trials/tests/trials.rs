//! Every fault on every backend, and a minute of faults that a seed decides.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use gosd_trials::backend::Kind;
use gosd_trials::fault::Fault;
use gosd_trials::outcome::Outcome;
use gosd_trials::runs::table;
use gosd_trials::soak::Soak;
use gosd_trials::trial::Plan;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gosd-trials"))
}

/// Trials of soaks that once broke a promise: the driver, the faults, how many milliseconds each lasts, and
/// the seed.
const BROKEN_ONCE: [[&str; 4]; 4] = [
    ["sqlite", "rewind,wipe", "2128", "5000"],
    ["sqlite", "rewind,wipe", "4764", "5033"],
    ["http-polled", "kill,delay", "3183", "5044"],
    ["postgres", "kill", "24283", "12"],
];

/// The seed is the same in every run; `gosd-trials soak` uses another each time.
const FIRST_SEED: u64 = 1;

#[tokio::test]
async fn trials_that_once_broke_a_promise_hold() {
    let trials = BROKEN_ONCE.map(|plan| async move {
        let outcome = Outcome::of(Plan::from_args(plan).unwrap(), program()).await;
        assert!(outcome.held(), "{plan:?}: {}", outcome.complaints());
    });
    join_all(trials).await;
}

/// The table and the soak run one after another, because each keeps the machine busy.
#[tokio::test]
async fn promises_hold() {
    let mut report = Vec::new();
    // What happens to the database behind a tier is in the table of docs/faults.md, and takes too long here.
    let is_chosen = |kind, fault| kind != Kind::Tier || Fault::TIER.contains(&fault);
    let (_, held) = table(program(), is_chosen, &mut report).await.unwrap();
    assert!(held, "{}", String::from_utf8_lossy(&report));

    let mut report = Vec::new();
    let minute = Duration::from_secs(60);
    let soak = Soak::run(program(), minute, FIRST_SEED, &mut report).await.unwrap();
    assert!(soak.held(), "{}", String::from_utf8_lossy(&report));
}
