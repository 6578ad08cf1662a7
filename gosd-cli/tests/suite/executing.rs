//! `gosd watch --exec`: what the command reads, and when it runs.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use gosd::Driver;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{LEASE, Place, Process, fixed};

/// A file that opens only when the test writes to it, so that a command which reads it runs until then.
fn gate(place: &Place) -> PathBuf {
    let gate = place.directory.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    gate
}

#[tokio::test]
async fn the_command_reads_the_list_now_and_after_each_change() {
    for place in Place::of_each_kind().await {
        let driver = place.driver().await;
        let [one, two] = [1, 2].map(|n| fixed("mail", n, &format!("http://10.0.0.{n}:25")));
        driver.register(&one, LEASE).await.unwrap();
        driver.register(&fixed("other", 1, "http://h"), LEASE).await.unwrap();
        let exec = ["watch", "mail", "--exec", "cat", "-o", "env", "--settle", "10ms"];
        let watch = place.start(&exec);
        watch.wait_for("MAIL_URLS='http://10.0.0.1:25'");
        driver.register(&two, LEASE).await.unwrap();
        watch.wait_for("MAIL_URLS='http://10.0.0.1:25 http://10.0.0.2:25'");
        place.out(&["drain", one.id().as_str()]);
        watch.wait_for("MAIL_URLS='http://10.0.0.2:25'");
        driver.deregister(two.id()).await.unwrap();
        watch.wait_for("MAIL_URLS=''");
    }
}

#[tokio::test]
async fn the_command_never_runs_twice_at_once_and_runs_after_the_last_change() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    // The command ends when the test allows it to, and fails if another one runs.
    let script = "mkdir running || echo two at once; echo list $(wc -l); \
                  while [ ! -e go ]; do read -r _ < gate; done; rmdir running";
    let gate = gate(&place);
    let watch = place.start(&["watch", "mail", "--exec", script, "--settle", "1ms"]);
    watch.wait_for("list 0");
    // These changes come while the first command runs.
    for n in 1..=50 {
        driver.register(&fixed("mail", n, "http://h"), LEASE).await.unwrap();
    }
    fs::write(place.directory.path().join("go"), "").unwrap();
    fs::write(&gate, "go\n").unwrap();
    watch.wait_for("list 50");
    driver.deregister(fixed("mail", 1, "http://h").id()).await.unwrap();
    watch.wait_for("list 49");
    assert!(!watch.has_said("two at once"));
}

/// Registers 25 instances, whose list is longer than what a pipe takes in.
async fn register_many(place: &Place) -> Arc<dyn Driver> {
    let driver = place.driver().await;
    for n in 1..=25 {
        let instance = fixed("mail", n, "http://h").with_metadata("long", &"x".repeat(8_000));
        driver.register(&instance, LEASE).await.unwrap();
    }
    driver
}

#[tokio::test]
async fn the_command_reads_the_whole_list_even_if_gosd_is_killed() {
    let place = Place::sqlite();
    register_many(&place).await;
    let gate = gate(&place);
    let script = "echo began; read -r _ < gate; echo list $(wc -l)";
    let mut watch = place.start(&["watch", "mail", "--exec", script]);
    watch.wait_for("began");
    watch.signal(Signal::KILL);
    watch.wait();
    fs::write(&gate, "go\n").unwrap();
    watch.wait_for("list 25");
}

#[tokio::test]
async fn a_daemon_of_the_command_may_keep_the_list_open_without_reading_it() {
    let place = Place::sqlite();
    let driver = register_many(&place).await;
    let gate = gate(&place);
    // The shell gives what runs in the background another standard input, but no other third descriptor.
    let script =
        "mkdir first 2>/dev/null || exec wc -l; exec 3<&0; sh -c 'read -r _ < gate' & echo began";
    let watch = place.start(&["watch", "mail", "--exec", script, "--settle", "1ms"]);
    watch.wait_for("began");
    driver.deregister(fixed("mail", 1, "http://h").id()).await.unwrap();
    watch.wait_for("24");
    fs::write(&gate, "end\n").unwrap();
}

#[tokio::test]
async fn a_command_that_fails_is_run_again() {
    let place = Place::sqlite();
    let script = "mkdir second-run 2>/dev/null && exit 9; echo done";
    let watch = place.start(&["watch", "mail", "--exec", script]);
    watch.wait_for("exit status: 9");
    watch.wait_for("done");
}

#[test]
fn a_command_that_hangs_is_told_of_and_then_changes_wait() {
    let place = Place::sqlite();
    let gate = gate(&place);
    let watch = place.start(&["watch", "mail", "--exec", "read -r _ < gate; echo done"]);
    watch.wait_for("the command has run for 10s");
    fs::write(&gate, "go\n").unwrap();
    watch.wait_for("done");
}

#[test]
fn a_command_that_is_out_of_time_is_ended_and_run_again() {
    for ignoring in ["", "trap '' TERM; "] {
        let place = Place::sqlite();
        let script = format!("{ignoring}mkdir first 2>/dev/null && sleep 1d; echo done");
        let watch = place.start(&["watch", "mail", "--timeout", "100ms", "--exec", &script]);
        watch.wait_for("it had not ended after 100ms");
        watch.wait_for("done");
        watch.signal(Signal::TERM);
        // The output ends only when all that the command has started is gone, too.
        assert_eq!(watch.end().0.signal(), Some(Signal::TERM.as_raw()));
    }
}

#[test]
fn the_signals_of_a_terminal_end_a_command_that_has_a_timeout() {
    let place = Place::sqlite();
    // `tail` prints the list and waits, and has no handler, unlike a shell: dash loses an interrupt that comes
    // while it starts a command.
    let args = ["watch", "mail", "--timeout", "1h", "--exec", "exec tail -f", "-o", "env"];
    let watch = Process::start(place.command(&args).process_group(0));
    watch.wait_for("MAIL_URLS=''");
    let group = Pid::from_raw(watch.id().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    // The output ends only when the command is gone, too.
    assert_eq!(watch.end().0.signal(), Some(Signal::INT.as_raw()));
}

#[tokio::test]
async fn the_command_does_not_run_before_the_first_view() {
    let port = gosd_testservers::free_port();
    let place = Place::sqlite();
    let mut command = place.command(&["watch", "mail", "--exec", "echo ran; cat", "-o", "env"]);
    let watch = Process::start(command.env("gosdDriver", format!("redis://127.0.0.1:{port}")));
    watch.wait_for("waiting for redis://127.0.0.1");
    assert!(!watch.has_said("ran"));
    let _server = gosd_testservers::RedisServer::start_at(port, &[]).await;
    watch.wait_for("MAIL_URLS=''");
}
