//! Signals in a process that handles them itself, or that was started with signals ignored.
#![cfg(target_os = "linux")]

mod support;

use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use gosd::Registration;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use support::loud::{SIMPLE, drivers, ready};
use support::{Cast, Process, hear, tell};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// The role of a program that does not handle signals itself.
fn service() {
    let runtime = Runtime::new().unwrap();
    let _client = runtime.block_on(drivers().start("mail", "http://127.0.0.1:1")).unwrap();
    tell("ready");
    hear();
}

#[test]
fn a_dropped_shutdown_on_signal_gives_the_signal_back() {
    fn program() {
        Runtime::new().unwrap().block_on(async {
            let client = drivers().connect().await.unwrap();
            drop(client.shutdown_on_signal());
            // As in a `select!` that another branch wins.
            tokio::select! {
                biased;
                () = client.shutdown_on_signal() => {}
                () = async {} => {}
            }
            tell("ready");
            pending::<()>().await;
        });
    }
    fn started() {
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(drivers().start("mail", "http://127.0.0.1:1")).unwrap();
        drop(client.shutdown_on_signal());
        tell("ready");
        hear();
    }
    let cast = Cast::new(
        "a_dropped_shutdown_on_signal_gives_the_signal_back",
        &[("program", program), ("started", started)],
    );
    for (role, goodbyes) in [("program", &[] as &[&str]), ("started", &["leaving", "left"])] {
        for signal in [Signal::TERM, Signal::INT] {
            let process = ready(&cast, role, &SIMPLE);
            process.signal(signal);
            let (status, said) = process.end();
            assert_eq!(said, goodbyes, "{role}");
            assert_eq!(status.signal(), Some(signal.as_raw()), "{role}: {status}");
        }
    }
}

#[test]
fn the_program_s_own_drain_is_not_cut_short() {
    /// Ends with exit code 7, half a second after the goodbye.
    fn drains(is_first: bool) {
        Runtime::new().unwrap().block_on(async {
            let early = is_first.then(|| signal(SignalKind::terminate()).unwrap());
            let client = drivers().start("mail", "http://127.0.0.1:1").await.unwrap();
            let mut signals = early.unwrap_or_else(|| signal(SignalKind::terminate()).unwrap());
            tell("ready");
            signals.recv().await;
            while !matches!(client.status().registration, Registration::Left) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            std::process::exit(7);
        });
    }
    fn hangs() {
        Runtime::new().unwrap().block_on(async {
            let _client = drivers().start("mail", "http://127.0.0.1:1").await.unwrap();
            let mut signals = signal(SignalKind::terminate()).unwrap();
            tell("ready");
            signals.recv().await;
            pending::<()>().await;
        });
    }
    let cast = Cast::new(
        "the_program_s_own_drain_is_not_cut_short",
        &[("before", || drains(true)), ("after", || drains(false)), ("hangs", hangs)],
    );
    for role in ["before", "after"] {
        let process = ready(&cast, role, &SIMPLE);
        process.signal(Signal::TERM);
        let (status, said) = process.end();
        assert_eq!(said, ["leaving", "left"], "{role}");
        assert_eq!(status.code(), Some(7), "{role}: {status}");
    }
    // The process has three seconds in all.
    let process = ready(&cast, "hangs", &SIMPLE);
    process.signal(Signal::TERM);
    let (status, _) = process.end();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

#[test]
fn a_signal_that_was_ignored_from_the_start_is_ignored() {
    let cast =
        Cast::new("a_signal_that_was_ignored_from_the_start_is_ignored", &[("service", service)]);
    let service = cast.command("service");
    // This is how shells start background jobs, and how nohup starts programs.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(service.get_program());
    shell.args(service.get_args()).envs(service.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let process = Process::start(shell.envs(SIMPLE));
    process.wait_for("ready");
    assert!(process.catches(Signal::TERM) && !process.catches(Signal::INT));
    process.signal(Signal::INT);
    process.signal(Signal::TERM);
    let (status, said) = process.end();
    // If the first signal had counted, the second one would have ended the process at once, or the exit
    // status would be that of the first.
    assert_eq!(said, ["leaving", "left"]);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

#[test]
fn a_process_that_can_make_no_thread_ends_all_the_same() {
    fn starved() {
        let runtime = Runtime::new().unwrap();
        let _client = runtime.block_on(drivers().start("mail", "http://127.0.0.1:1")).unwrap();
        // There is no room for the stack of another thread.
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split_whitespace().next().unwrap().parse().unwrap();
        let limit = Some(pages * 4_096 + 1_000_000);
        setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
        assert!(std::thread::Builder::new().spawn(|| {}).is_err());
        tell("ready");
        hear();
    }
    let cast =
        Cast::new("a_process_that_can_make_no_thread_ends_all_the_same", &[("starved", starved)]);
    let process = ready(&cast, "starved", &SIMPLE);
    process.signal(Signal::TERM);
    let (status, said) = process.end();
    assert_eq!(said, ["leaving", "left"]);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}
