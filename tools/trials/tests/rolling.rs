//! A rolling restart fails no request, on any database.

use std::process::{Command, Output};

fn rolling(options: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_gosd-trials");
    Command::new(program).arg("rolling").args(options).output().expect("it can be started")
}

#[test]
fn no_request_fails() {
    let done = rolling(&[]);
    assert!(done.status.success(), "{done:?}");
}

/// Where changes are polled, clients send requests to a server for seconds after its goodbye.
#[test]
fn without_a_drain_requests_fail() {
    let done = rolling(&["--only", "http-polled", "--drain", "0"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("| http-polled "), "{done:?}");
}
