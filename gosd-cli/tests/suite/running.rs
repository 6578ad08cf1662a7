//! `gosd run`: when the command is registered, its environment, and its exit code.

use std::fs;

use futures_util::StreamExt;
use gosd::{Change, Client};
use gosd_testservers::{RedisServer, free_port};
use rustix::process::Signal;

use crate::support::{LEASE, Place, Process, fixed};

pub(crate) const GOSD: &str = env!("CARGO_BIN_EXE_gosd");
pub(crate) const SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/service.py");

/// Arguments that run `service.py` on a free port, with more flags.
pub(crate) fn service<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let run = ["run", "mail", "--port", "0", "--drain", "0s", "--every", "50ms"];
    [&run[..], flags, &["--", "python3", SERVICE, GOSD]].concat()
}

async fn watch(place: &Place) -> (Client, impl StreamExt<Item = Change> + Unpin) {
    let client = Client::builder(place.driver().await).start().await.unwrap();
    let changes = client.changes();
    (client, changes)
}

#[tokio::test]
async fn the_command_is_registered_while_its_port_answers() {
    for place in Place::of_each_kind().await {
        let (_client, mut changes) = watch(&place).await;
        assert!(matches!(changes.next().await, Some(Change::Reset(_))));
        let run = place.start(&service(&["-m", "zone=b"]));
        let Some(Change::Added(added)) = changes.next().await else { panic!("not registered") };
        assert_eq!(added.metadata()["zone"], "b");
        run.wait_for("serving: mail-");
        // This signal is passed on at once. The command then closes its port, and opens it again.
        run.signal(Signal::USR1);
        assert_eq!(changes.next().await, Some(Change::Removed(added.clone())));
        run.wait_for("withdrawn");
        run.signal(Signal::USR1);
        assert_eq!(changes.next().await, Some(Change::Added(added.clone())));
        run.signal(Signal::TERM);
        assert_eq!(changes.next().await, Some(Change::Removed(added)));
        assert_eq!(run.end().0.code(), Some(7));
    }
}

#[tokio::test]
async fn the_command_is_registered_while_its_health_check_succeeds() {
    let place = Place::sqlite();
    let healthy = place.directory.path().join("healthy");
    let run = place.start(&service(&["--check", "/health"]));
    run.wait_for("up ");
    assert_eq!(place.run(&["get", "mail"]).code, 3);
    fs::write(&healthy, "").unwrap();
    run.wait_for("serving: mail-");
    assert_eq!(place.run(&["get", "mail"]).code, 0);
    fs::remove_file(&healthy).unwrap();
    run.wait_for("withdrawn");
    run.signal(Signal::TERM);
    assert_eq!(run.end().0.code(), Some(7));
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let place = Place::sqlite();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let ran = place.run(&["run", "mail", "--port", "1", "--", "sh", "-c", script]);
        assert_eq!(ran.code, code, "{script}: {ran:?}");
    }
    let ran = place.run(&["run", "mail", "--port", "1", "--", "no-such-command"]);
    assert!(ran.code == 127 && ran.err.contains("no-such-command"), "{ran:?}");
    let ran = place.run(&["run", "mail", "--port", "1", "--", "/"]);
    assert_eq!(ran.code, 126, "{ran:?}");
}

#[test]
fn the_command_s_environment_has_its_port_its_name_and_its_registry() {
    let place = Place::sqlite();
    let script = "echo $PORT $OTEL_SERVICE_NAME $OTEL_RESOURCE_ATTRIBUTES $gosdNamespace";
    let run = ["run", "mail", "-n", "blue", "--port", "4711", "--", "sh", "-c", script];
    let out = place.out(&run);
    assert!(out.starts_with("4711 mail service.instance.id=mail-"), "{out}");
    assert!(out.ends_with(" blue\n"), "{out}");
    let mut command = place.command(&["run", "mail", "--port", "0", "--", "sh", "-c", script]);
    command.env("OTEL_SERVICE_NAME", "own").env("OTEL_RESOURCE_ATTRIBUTES", "a=b");
    let out = crate::support::ran(&mut command).out;
    let words: Vec<&str> = out.split(' ').collect();
    assert!(words[0].parse::<u16>().unwrap() > 0 && words[1] == "own", "{out}");
    assert!(words[2].starts_with("a=b,service.instance.id=mail-"), "{out}");
}

#[tokio::test]
async fn a_killed_predecessor_at_the_same_url_is_out_of_the_rotation() {
    let place = Place::sqlite();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let driver = place.driver().await;
    driver.register(&fixed("mail", 1, &url), LEASE).await.unwrap();
    driver.register(&fixed("other", 1, &url), LEASE).await.unwrap();
    let (_client, mut changes) = watch(&place).await;
    let port = port.to_string();
    let mut args = service(&[]);
    args[3] = &port;
    let run = place.start(&args);
    while !matches!(changes.next().await, Some(Change::Removed(it)) if *it == fixed("mail", 1, &url))
    {
    }
    assert_eq!(place.out(&["ls", "other", "-o", "url"]).trim(), url);
    run.signal(Signal::TERM);
    assert_eq!(run.end().0.code(), Some(7));
}

#[tokio::test]
async fn the_command_runs_while_the_database_is_down() {
    let place = Place::sqlite();
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}");
    let run = Process::start(place.command(&service(&[])).env("gosdDriver", &url));
    run.wait_for("and is not registered yet");
    let _server = RedisServer::start_at(port, &[]).await;
    run.wait_for("serving: mail-");
    assert_eq!(place.run(&["get", "mail", "-d", &url]).code, 0);
    run.signal(Signal::TERM);
    assert_eq!(run.end().0.code(), Some(7));
}

#[tokio::test]
async fn the_command_is_ended_if_the_database_refuses() {
    let server = RedisServer::start(&["--requirepass", "sesame"]).await;
    let place = Place::sqlite();
    let run = Process::start(place.command(&service(&[])).env("gosdDriver", server.url()));
    let (status, rest) = run.end();
    assert_eq!(status.code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("assword")), "{rest:?}");
}

#[test]
fn a_url_without_a_port_or_check_is_a_usage_error() {
    let place = Place::sqlite();
    for (args, what) in [
        (&["run", "mail", "--", "true"][..], "--port"),
        (&["run", "mail", "--port", "1"], "COMMAND"),
        (&["run", "mail", "--url", "mail://h", "--", "true"], "add --port or --check"),
        (&["run", "mail", "--port", "1", "--check", "https://h", "--", "true"], "expected a path"),
        (&["run", "gosd.x", "--port", "1", "--", "true"], "reserved"),
    ] {
        let ran = place.run(args);
        assert!(ran.code == 2 && ran.err.contains(what), "{args:?}: {ran:?}");
    }
}

#[test]
fn the_command_does_not_start_with_a_drain_that_no_client_accepts() {
    let place = Place::sqlite();
    let ran = place.run(&["run", "mail", "-p", "80", "--drain", "2h", "--", "touch", "started"]);
    assert!(ran.code == 2 && ran.err.contains("'--drain <TIME>'"), "{ran:?}");
    assert!(!place.directory.path().join("started").exists());
}

#[test]
fn a_password_in_the_url_is_not_shown() {
    let place = Place::sqlite();
    let port = free_port().to_string();
    let url = format!("http://svc:sesame@127.0.0.1:{port}");
    let mut args = service(&["--url", &url]);
    args[3] = &port;
    let run = place.start(&args);
    let said = run.wait_for("serving: mail-");
    assert!(said.contains(&port) && !said.contains("sesame"), "{said}");
    run.signal(Signal::TERM);
    let (_, rest) = run.end();
    assert!(rest.iter().all(|line| !line.contains("sesame")), "{rest:?}");
}
