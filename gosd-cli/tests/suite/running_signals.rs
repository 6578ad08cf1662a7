//! `gosd run` and signals: the goodbye comes before the signal, each signal arrives once, and nothing is
//! left.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use gosd_testservers::RedisServer;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::running::service;
use crate::support::{Place, Process, signal_to};

/// The arguments of the service with this drain.
fn with_drain(drain: &'static str) -> Vec<&'static str> {
    service(&[]).into_iter().map(|arg| if arg == "0s" { drain } else { arg }).collect()
}

/// Others hear of the goodbye only at their next read, so the service serves on until then.
#[test]
fn where_changes_are_polled_the_drain_is_longer() {
    let server_s = Place::sqlite();
    let server = server_s.start(&["serve", "127.0.0.1:0"]);
    let polled = Place::at(format!("{}/?watch=off", server.wait_for("http://")));
    let mut command = polled.command(&with_drain("500ms"));
    let run = Process::start(command.env("gosdRefreshInterval", "2"));
    run.wait_for("serving: mail-");
    let asked = Instant::now();
    run.signal(Signal::TERM);
    run.wait_for("ending, 3,");
    assert!(asked.elapsed() >= Duration::from_millis(2_500), "{:?}", asked.elapsed());
    assert_eq!(run.end().0.code(), Some(7));
}

#[tokio::test]
async fn the_goodbye_and_the_drain_come_before_the_signal() {
    for place in Place::of_each_kind().await {
        for signal in [Signal::TERM, Signal::INT] {
            let run = place.start(&with_drain("500ms"));
            run.wait_for("serving: mail-");
            let asked = Instant::now();
            run.signal(signal);
            if signal == Signal::INT {
                run.wait_for("interrupted");
                assert!(asked.elapsed() >= Duration::from_millis(500), "{:?}", asked.elapsed());
                run.signal(Signal::TERM);
            }
            // The number 3 is the exit code of `gosd ls`, which the command runs when it receives the signal.
            run.wait_for("ending, 3,");
            assert!(asked.elapsed() >= Duration::from_millis(500), "{:?}", asked.elapsed());
            assert_eq!(run.end().0.code(), Some(7));
        }
    }
}

#[tokio::test]
async fn a_goodbye_that_hangs_delays_the_signal_by_three_seconds() {
    let mut server = RedisServer::start(&[]).await;
    let place = Place::sqlite();
    let mut command = place.command(&service(&[]));
    let run = Process::start(command.env("gosdDriver", server.url()));
    run.wait_for("serving: mail-");
    server.process().signal("STOP").await;
    let asked = Instant::now();
    run.signal(Signal::INT);
    run.wait_for("interrupted");
    assert!(asked.elapsed() >= Duration::from_secs(3), "{:?}", asked.elapsed());
    server.process().signal("CONT").await;
    run.signal(Signal::TERM);
    assert_eq!(run.end().0.code(), Some(7));
}

#[test]
fn a_second_signal_does_not_wait() {
    let place = Place::sqlite();
    let run = place.start(&with_drain("1h"));
    run.wait_for("serving: mail-");
    run.signal(Signal::INT);
    run.wait_for("said goodbye");
    run.signal(Signal::TERM);
    run.wait_for("ending, 3,");
    assert_eq!(run.end().0.code(), Some(7));
}

/// Most commands have no handler of SIGTERM. By default, systemd takes the exit code of a stop for a failure.
#[test]
fn systemd_is_told_that_the_exit_code_of_a_stop_is_no_failure() {
    const UNIT: &str = include_str!("../../../examples/deploy/gosd-run.service");
    let place = Place::sqlite();
    let args = ["run", "mail", "-p", "1", "--drain", "0s", "--", "sh", "-c", "echo up; sleep 1d"];
    let run = place.start(&args);
    run.wait_for("up");
    run.signal(Signal::TERM);
    let code = run.end().0.code().expect("an exit code");
    let line = format!("SuccessExitStatus={code}");
    assert!(UNIT.lines().any(|it| it == line), "{line}");
    assert!(include_str!("../../README.md").contains(&line), "{line}");
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let place = Place::sqlite();
    let mut command = place.command(&service(&[]));
    let run = Process::start(command.process_group(0));
    run.wait_for("serving: mail-");
    // The signal goes to the process group, as from a terminal.
    let group = Pid::from_raw(run.id().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    run.wait_for("interrupted");
    run.signal(Signal::TERM);
    run.wait_for("ending, 3, 1 interrupts");
}

#[test]
fn a_gosd_that_is_killed_takes_the_command_with_it() {
    let place = Place::sqlite();
    let run = place.start(&service(&[]));
    run.wait_for("serving: mail-");
    run.signal(Signal::KILL);
    // The output ends only when the command is gone, too.
    let (_, rest) = run.end();
    assert!(rest.iter().any(|line| line.starts_with("ending, 0,")), "{rest:?}");
}

/// The program, started with a signal ignored, so that what it runs ignores it, too.
fn ignoring(signal: &str, place: &Place, args: &[&str]) -> Command {
    let command = place.command(args);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("trap '' {signal}; exec \"$@\"")).arg("sh");
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(place.directory.path());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

#[test]
fn ignored_signals_stay_ignored() {
    let place = Place::sqlite();
    let run = Process::start(&mut ignoring("HUP", &place, &service(&[])));
    let up = run.wait_for("up ");
    run.wait_for("serving: mail-");
    run.signal(Signal::HUP);
    signal_to(up.trim_start_matches("up ").parse().unwrap(), Signal::HUP);
    run.signal(Signal::TERM);
    assert_eq!(run.end().0.code(), Some(7));
}

#[tokio::test]
async fn why_the_database_refuses_is_told_before_the_command_ends() {
    let server = RedisServer::start(&["--requirepass", "sesame"]).await;
    let place = Place::at(server.url());
    let gate = place.directory.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // The command ends when the test allows it to, and not by the signal.
    let args = ["run", "mail", "--port", "1", "--", "sh", "-c", "read -r _ < gate"];
    let run = Process::start(&mut ignoring("TERM", &place, &args));
    run.wait_for("assword");
    run.wait_for("the command is asked to end");
    fs::write(&gate, "go\n").unwrap();
    let (status, rest) = run.end();
    assert!(status.code() == Some(1) && rest.is_empty(), "{status:?} {rest:?}");
}

/// Runs gosd as the first process of a container.
fn as_first_process(place: &Place, args: &[&str]) -> Process {
    let command = place.command(args);
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare.current_dir(place.directory.path());
    unshare.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Process::start(&mut unshare)
}

/// The process id, seen from outside, of the first process of a container.
fn first_process(unshare: &Process) -> u32 {
    let id = unshare.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.trim().parse().unwrap()
}

#[test]
fn the_first_process_of_a_container_reaps_all_orphans() {
    const SCRIPT: &str = r#"
for _ in 1 2 3 4 5; do sh -c 'true & exec true'; done
# All of them, or the test hangs and fails.
while grep -l '^State:.Z' /proc/[0-9]*/status; do :; done
echo reaped; exit 9"#;
    let place = Place::sqlite();
    let run = as_first_process(&place, &["run", "mail", "-p", "1", "--", "sh", "-c", SCRIPT]);
    run.wait_for("reaped");
    assert_eq!(run.end().0.code(), Some(9));
}

#[test]
fn the_first_process_of_a_container_ends_when_it_is_asked_to() {
    let place = Place::sqlite();
    for (args, sign) in [
        (&["watch", "--json"][..], "reset"),
        (&["watch", "mail", "--exec", "cat", "-o", "env"], "MAIL_URLS=''"),
        (&["get", "nobody", "--wait", "1h"], "waiting for nobody"),
    ] {
        for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
            let gosd = as_first_process(&place, args);
            gosd.wait_for(sign);
            signal_to(first_process(&gosd), signal);
            assert_eq!(gosd.end().0.code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn the_first_process_of_a_container_ends_while_its_database_is_silent() {
    let args = ["register", "mail", "http://10.0.0.7:8885", "--hold"];
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::at(format!("redis://{}", silent.local_addr().unwrap()));
        let gosd = as_first_process(&place, &args);
        let _asked = silent.accept().unwrap();
        signal_to(first_process(&gosd), signal);
        assert_eq!(gosd.end().0.code(), Some(code));
    }
}

#[test]
fn the_first_process_of_a_container_does_not_end_in_the_middle_of_a_run() {
    let place = Place::sqlite();
    let gate = place.directory.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let script = "echo began; read -r _ < gate; echo finished";
    let asked = || {
        let gosd = as_first_process(&place, &["watch", "mail", "--exec", script]);
        gosd.wait_for("began");
        signal_to(first_process(&gosd), Signal::TERM);
        gosd.wait_for("waiting for the command");
        gosd
    };
    let gosd = asked();
    fs::write(&gate, "go\n").unwrap();
    let (status, rest) = gosd.end();
    assert!(status.code() == Some(143) && rest == ["finished"], "{status:?} {rest:?}");

    let gosd = asked();
    signal_to(first_process(&gosd), Signal::INT);
    let (status, rest) = gosd.end();
    assert!(status.code() == Some(130) && rest.is_empty(), "{status:?} {rest:?}");
}

#[test]
fn the_first_process_of_a_container_passes_signals_on() {
    let place = Place::sqlite();
    let run = as_first_process(&place, &service(&[]));
    run.wait_for("serving: mail-");
    signal_to(first_process(&run), Signal::TERM);
    run.wait_for("ending, 3,");
    assert_eq!(run.end().0.code(), Some(7));

    let run = as_first_process(
        &place,
        &["run", "mail", "-p", "1", "--", "sh", "-c", "echo up; sleep 1d"],
    );
    run.wait_for("up");
    signal_to(first_process(&run), Signal::TERM);
    assert_eq!(run.end().0.code(), Some(143));
}
