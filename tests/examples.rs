//! The examples work as described, as the processes that a reader starts.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use support::{Process, as_first_process};
use tempfile::TempDir;

const PROVIDERS: [&str; 2] = [r#""Provider: 1""#, r#""Provider: 2""#];

/// The command that runs an example, which cargo builds beside the tests.
fn example(name: &str, folder: &TempDir) -> Command {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
    let built = fs::metadata(&program).and_then(|built| built.modified());
    let is_current = built.is_ok_and(|at| at >= fs::metadata(source).unwrap().modified().unwrap());
    assert!(is_current, "build the examples first: cargo build --examples --all-features");
    let mut command = Command::new(program);
    command.current_dir(folder).env("TMPDIR", folder.path());
    command
}

/// Requires the lines to name the providers in turn, whichever is the first.
fn assert_in_turn(lines: &[String]) {
    let first = PROVIDERS.iter().position(|provider| *provider == lines[0]).unwrap();
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line, PROVIDERS[(first + i) % 2], "{lines:?}");
    }
}

#[test]
fn provider_and_consumer_in_any_order() {
    provider_and_consumer("sqlite");
}

#[cfg(feature = "redis")]
#[test]
fn provider_and_consumer_on_redis_by_the_environment_alone() {
    // The port was free a moment ago; the server can only be given a number.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _server = Process::start(Command::new("redis-server").args([
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--save",
        "",
    ]));
    provider_and_consumer(&format!("redis://127.0.0.1:{port}"));
}

#[cfg(feature = "etcd")]
#[test]
fn provider_and_consumer_on_etcd_by_the_environment_alone() {
    let data = TempDir::new().unwrap();
    // Both ports were free a moment ago; the server can only be given numbers.
    let free = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [clients, peers] = free.map(|socket| format!("http://{}", socket.local_addr().unwrap()));
    let _server = Process::start(
        Command::new("etcd")
            .args(["--name", "one", "--initial-cluster", &format!("one={peers}")])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--logger", "zap", "--log-outputs", "stdout", "--data-dir"])
            .arg(data.path()),
    );
    provider_and_consumer(&clients.replace("http", "etcd"));
}

#[test]
fn provider_and_consumer_end_on_sigterm_as_the_first_process_of_a_container() {
    let folder = TempDir::new().unwrap();
    let start = |args: &[&str]| {
        let mut command = example(args[0], &folder);
        Process::start(&mut as_first_process(command.args(&args[1..]).env("gosdDriver", "sqlite")))
    };
    let provider = start(&["provider", "127.0.0.1:0", "1"]);
    provider.wait_for("registered at ");
    let consumer = start(&["consumer"]);
    consumer.line();
    for process in [consumer, provider] {
        process.signal_child(Signal::TERM);
        let (status, _) = process.end();
        assert!(status.success(), "{status}");
    }
}

fn provider_and_consumer(driver: &str) {
    let folder = TempDir::new().unwrap();
    let start = |args: &[&str]| {
        let mut command = example(args[0], &folder);
        Process::start(command.args(&args[1..]).env("gosdDriver", driver))
    };
    let early = start(&["consumer"]);
    let providers = ["1", "2"].map(|name| {
        let provider = start(&["provider", ":0", name]);
        provider.wait_for("registered at http://127.0.0.1:");
        provider
    });
    let (status, said) = early.end();
    assert!(status.success() && said.len() == 10, "{status} {said:?}");
    assert!(said.iter().all(|line| PROVIDERS.contains(&line.as_str())), "{said:?}");

    let (status, said) = start(&["consumer"]).end();
    assert!(status.success() && said.len() == 10, "{status} {said:?}");
    assert_in_turn(&said);

    for provider in providers {
        provider.signal(Signal::TERM);
        let (status, said) = provider.end();
        assert!(status.success() && said == ["left"], "{status} {said:?}");
    }
}
