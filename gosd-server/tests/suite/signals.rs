//! The signals that ask a server to end. The server is this test program, in another process.
#![cfg(unix)]

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use gosd_core::Memory;
use gosd_server::{Settings, serve};
use gosd_testkit::{Fault, Faulty, Operation};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::support::{LATE, read_until};

/// The variable that makes this process the server.
const ROLE: &str = "GOSD_TEST_SERVER";
const SELF: [&str; 3] = ["--exact", "signals::the_server_itself", "--nocapture"];

/// Serves if the variable is set. Lists of its database hang.
#[expect(clippy::disallowed_methods, reason = "it says which of the two processes this is")]
#[tokio::test]
async fn the_server_itself() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let faulty = Faulty::new(Arc::new(Memory::new()));
    faulty.on(Operation::List, Fault::Hang);
    let settings = Settings::new().namespace("gosd", Arc::new(faulty)).unwrap();
    let server = serve("127.0.0.1:0", settings).await.unwrap();
    println!("\nserving at {}", server.address());
    server.shutdown_on_signal().await.unwrap();
    println!("\nended");
}

/// A server process, perhaps started by another program.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    async fn start(program: &str, args: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .env(ROLE, "1")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = async {
            loop {
                let line = lines.next_line().await.expect("a line").expect("it goes on");
                if let Some(address) = line.strip_prefix("serving at ") {
                    return address.to_owned();
                }
            }
        };
        let address = timeout(LATE, address).await.expect("it serves");
        // The rest of the output is read, so that the server never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address }
    }

    async fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("it serves");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it takes it");
        stream
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(LATE, self.child.wait()).await.expect("it ends").expect("a status")
    }
}

async fn kill(signal: &str, pid: u32) {
    let killed = Command::new("kill").args([signal, &pid.to_string()]).status().await;
    assert!(killed.expect("a status").success());
}

fn this_program() -> String {
    std::env::current_exe().expect("a path").to_str().expect("it is UTF-8").to_owned()
}

#[tokio::test]
async fn both_signals_end_the_server_gracefully_and_its_watchers_are_told() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Process::start(&this_program(), &SELF).await;
        let mut watcher = server.ask("/v1/gosd/events").await;
        read_until(&mut watcher, "]}\n\n").await;
        kill(signal, server.child.id().unwrap()).await;
        let rest = read_until(&mut watcher, "never").await;
        assert!(rest.contains("retry: "), "{signal}: {rest}");
        assert_eq!(server.ended().await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_second_signal_takes_its_default_action_at_once() {
    let mut server = Process::start(&this_program(), &SELF).await;
    // A request that hangs delays the graceful end.
    let _hangs = server.ask("/v1/gosd/instances").await;
    let mut watcher = server.ask("/v1/gosd/events").await;
    read_until(&mut watcher, "]}\n\n").await;
    let pid = server.child.id().unwrap();
    kill("-TERM", pid).await;
    read_until(&mut watcher, "never").await;
    kill("-TERM", pid).await;
    assert_eq!(server.ended().await.signal(), Some(15));
}

/// A server as the only process of a container: the kernel applies no default action of a signal to it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn both_signals_end_a_server_that_is_pid_1_too() {
    for (signals, code) in [(1, 0), (2, 128 + 15)] {
        let program = this_program();
        let isolate = ["--fork", "--pid", "--kill-child", "--mount-proc", &program];
        // A user without the right to make a namespace may make one inside its own user namespace.
        let user: &[&str] =
            if rustix::process::geteuid().is_root() { &[] } else { &["--map-root-user"] };
        let args = [user, &isolate, &SELF].concat();
        let mut server = Process::start("unshare", &args).await;
        let _hangs = server.ask("/v1/gosd/instances").await;
        let mut watcher = server.ask("/v1/gosd/events").await;
        read_until(&mut watcher, "]}\n\n").await;
        let below = Command::new("pgrep")
            .args(["-P", &server.child.id().unwrap().to_string()])
            .output()
            .await
            .unwrap();
        let pid: u32 = String::from_utf8_lossy(&below.stdout).trim().parse().expect("one child");
        kill("-TERM", pid).await;
        read_until(&mut watcher, "never").await;
        if signals == 2 {
            kill("-TERM", pid).await;
        }
        assert_eq!(server.ended().await.code(), Some(code), "{signals} signals");
    }
}
