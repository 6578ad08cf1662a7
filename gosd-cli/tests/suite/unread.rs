//! Commands whose output nobody reads do what they are asked for, and the exit code says what they did.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gosd::{Change, Client};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::support::{LATE, LEASE, Place, fixed, signal_to};

/// Closes the output of a command before it starts.
fn unread(command: &mut Command) -> &mut Command {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped())
}

fn code(command: &mut Command) -> Option<i32> {
    unread(command).output().unwrap().status.code()
}

/// A process that is killed when the test ends at the latest.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(unread(command).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn all_are_deregistered() {
    let place = Place::sqlite();
    let driver = place.driver().await;
    let all = [1, 2, 3].map(|number| fixed("mail", number, "http://10.0.0.7:25"));
    let register = async || {
        for instance in &all {
            driver.register(instance, LEASE).await.unwrap();
        }
    };
    register().await;
    let [first, second, _] = all.each_ref().map(|it| it.id().as_str());
    let mut one_is_missing = place.command(&["deregister", first, "mail-of-nobody", second]);
    assert_eq!(code(&mut one_is_missing), Some(3));
    assert_eq!(driver.list().await.unwrap(), &all[2..]);
    register().await;
    let mut all_at_once = place.command(&["deregister", "--url", "http://10.0.0.7:25"]);
    assert_eq!(code(&mut all_at_once), Some(0));
    assert_eq!(driver.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_held_instance_stays_until_the_command_is_asked_to_end() {
    let place = Place::sqlite();
    let client = Client::builder(place.driver().await).start().await.unwrap();
    let mut changes = client.changes();
    assert!(matches!(changes.next().await, Some(Change::Reset(all)) if all.is_empty()));
    let mut command = place.command(&["register", "mail", "http://10.0.0.7:25", "--hold"]);
    // Within the time of the test, nothing but a goodbye removes it.
    let mut held = Running::start(command.env("gosdDrain", "0").env("gosdLeaseTTL", "3600"));
    let mut said = BufReader::new(held.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("registered, until Ctrl-C")), "it has ended");
    let mut next = async || timeout(LATE, changes.next()).await.expect("a change").unwrap();
    let Change::Added(added) = next().await else { panic!("it is not registered") };
    signal_to(held.0.id(), Signal::TERM);
    assert_eq!(next().await, Change::Removed(added));
    assert!(held.0.wait().unwrap().success());
}

#[tokio::test]
async fn a_server_serves() {
    let place = Place::sqlite();
    let address = format!("127.0.0.1:{}", gosd_testservers::free_port());
    let mut server = Running::start(&mut place.command(&["serve", &address]));
    let began = Instant::now();
    let mut answer = String::new();
    while !answer.starts_with("HTTP/1.1 200") {
        assert!(server.0.try_wait().unwrap().is_none() && began.elapsed() < LATE, "{answer}");
        sleep(Duration::from_millis(10)).await;
        let Ok(mut stream) = TcpStream::connect(&address) else { continue };
        let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
}

#[tokio::test]
async fn what_was_found_is_in_the_exit_code() {
    let (old, new) = (Place::sqlite(), Place::sqlite());
    let driver = old.driver().await;
    driver.register(&fixed("mail", 1, "http://10.0.0.7:25"), LEASE).await.unwrap();
    let mut status = old.command(&["migrate", "status", &old.url, &new.url]);
    assert_eq!(code(&mut status), Some(1));
    let nowhere = Place::at(format!("redis://127.0.0.1:{}", gosd_testservers::free_port()));
    // The misspelt variable is a finding, too, and comes before.
    let mut doctor = nowhere.command(&["doctor"]);
    assert_eq!(code(doctor.env("gosd_namespace", "blue")), Some(4));
}
