//! A deterministic simulation of whole fleets, which checks what `docs/design.md` promises of views.
//!
//! Real clients run on one thread in paused time. Each runs in a simulated process that can be killed, frozen
//! or cut off. Around them is a model of a database that can be wiped, restarted, frozen, filled up, or have
//! its clock set. All randomness comes from one seed. After each step of each client two properties are
//! checked. No living instance is dropped, unless its own process caused its absence from the database. And
//! no instance is shown that has been dead for longer than the bound. See `tests.rs` for how to run the
//! simulation for a long time, and how to repeat one seed.

mod database;
mod faults;
mod flapping;
mod life;
mod link;
mod oracle;
mod process;
mod tests;
mod world;

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use self::faults::{Scenario, THEMES};
pub(super) use self::process::{clocks, confine};
use crate::InstanceId;

/// The number of a process, which is a part of its instance's id.
type Number = usize;

/// The service that every process registers.
const SERVICE: &str = "s";

thread_local!(static LOG: RefCell<Option<Vec<String>>> = const { RefCell::new(None) });

/// Writes an event to the log, if one is kept.
fn trace(origin: Instant, what: impl FnOnce() -> String) {
    LOG.with_borrow_mut(|log| {
        if let Some(log) = log {
            log.push(format!("{:>10.3?} {}", origin.elapsed(), what()));
        }
    });
}

/// Which services the clients of a simulation watch: all, or those that they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watching {
    Everything,
    OnDemand,
}

/// Runs one seed, and logs every event.
fn play_with_log(seed: u64, watching: Watching) -> (Result<(), String>, Vec<String>) {
    LOG.set(Some(Vec::new()));
    let outcome = play(seed, watching);
    (outcome, LOG.take().unwrap_or_default())
}

/// Runs one seed; the error says which property did not hold.
fn play(seed: u64, watching: Watching) -> Result<(), String> {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(async {
        let theme = THEMES[usize::try_from(seed % THEMES.len() as u64).expect("it is small")];
        Scenario::new(theme, watching).run().await
    })
}

fn number_of(id: &InstanceId) -> Number {
    let (_, number) = id.as_str().rsplit_once('-').expect("the ids are the simulation's own");
    number.parse().expect("it is a number")
}

fn chance(share: f64) -> bool {
    fastrand::f64() < share
}

fn between(least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(fastrand::f64())
}

fn one_of<T: Clone>(choices: &[T]) -> T {
    choices[fastrand::usize(0..choices.len())].clone()
}
