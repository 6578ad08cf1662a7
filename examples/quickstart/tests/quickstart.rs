//! The quickstart does what its output says, and compiles little.
#![cfg(target_os = "linux")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use support::Process;
use tempfile::TempDir;

const PROVIDERS: [&str; 2] = [r#""Provider: 1""#, r#""Provider: 2""#];

/// At most this many crates, including gosd's own, are compiled before the quickstart runs.
const CRATES: usize = 80;

/// The program, with its files in the folder.
fn quickstart(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.current_dir(folder).env("TMPDIR", folder.path());
    command
}

#[test]
fn quickstart_shows_what_it_says() {
    let folder = TempDir::new().unwrap();
    let (status, said) = Process::start(&mut quickstart(&folder)).end();
    assert!(status.success(), "{status} {said:?}");
    let (answers, told): (Vec<String>, Vec<String>) =
        said.into_iter().partition(|line| line.starts_with('"'));
    assert_eq!(answers.len(), 15, "{answers:?}");
    // In turn, whichever is the first.
    let first = PROVIDERS.iter().position(|provider| *provider == answers[0]).unwrap();
    for (i, answer) in answers[..10].iter().enumerate() {
        assert_eq!(answer, PROVIDERS[(first + i) % 2], "{answers:?}");
    }
    assert_eq!(answers[10..], [PROVIDERS[1]; 5]);
    assert!(told.iter().any(|line| line == "Provider 1 has ended: exit status: 0"), "{told:?}");
    let error = r#"sqlite: next: no instance of "provider" is registered"#;
    assert!(told.iter().any(|line| line.starts_with(error)), "{told:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn quickstart_leaves_nothing_behind_when_it_is_interrupted() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = TempDir::new().unwrap();
        let shown = Process::start(quickstart(&folder).process_group(0));
        shown.wait_for(r#""Provider: "#);
        let id = shown.id();
        let children: Vec<u32> = fs::read_dir(format!("/proc/{id}/task"))
            .unwrap()
            .map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap())
            .flat_map(|ids| {
                ids.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(children.len(), 3);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        if signal == Signal::INT {
            // A terminal does the same on Ctrl-C.
            kill_process_group(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
        } else {
            shown.signal(signal);
        }
        let (status, _) = shown.end();
        assert!(!status.success());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        for child in children {
            assert!(!Path::new(&format!("/proc/{child}")).exists(), "{child} lives on");
        }
    }
}

#[test]
fn quickstart_compiles_little() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}", "--package", env!("CARGO_PKG_NAME")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    // A crate that was listed before has a mark after its version.
    let crates: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    assert!(crates.iter().any(|it| it.starts_with("gosd-sqlite ")), "{tree}");
    assert!(crates.len() <= CRATES, "{} crates: {crates:#?}", crates.len());
}
