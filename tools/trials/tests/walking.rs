//! No service is lost on the migration between two databases, and the trial notices when one is.

use std::process::{Command, Output};

fn trials(options: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_gosd-trials");
    Command::new(program).args(options).output().expect("it can be started")
}

fn walk(options: &[&str]) -> Output {
    trials(&[&["walk", "--seed", "1"][..], options].concat())
}

#[test]
fn no_lookup_fails_on_the_way_and_back() {
    let done = walk(&[]);
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn the_first_step_and_the_last_together_lose_lookups() {
    let done = walk(&["--mutant", "mix"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
}

#[test]
fn a_drop_at_the_first_goodbye_loses_lookups() {
    let done = walk(&["--mutant", "first-remove"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
}

#[test]
fn the_cost_of_two_databases_is_measured() {
    let done = trials(&["cost"]);
    let table = String::from_utf8_lossy(&done.stdout);
    for row in ["| sqlite | ", "| redis | ", "| both | ", "| both, as a multiple of the slower of "]
    {
        assert!(done.status.success() && table.contains(row), "{done:?}");
    }
}
