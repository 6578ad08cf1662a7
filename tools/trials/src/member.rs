//! Members: the processes and clients whose instances come and go in a trial.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use gosd_core::{Client, ErrorKind, Instance, Settings};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::backend::open;
use crate::history::{Event, Recorder};
use crate::trial::settings;

/// The service of the instances that come and go.
pub(crate) const SERVICE: &str = "passing";
/// The line that a process prints once it has registered, or has begun to try.
const READY: &str = "started";

/// How long a supervisor waits before it starts a process again.
const AGAIN: Duration = Duration::from_secs(1);

/// A process that needs longer than this to end after a signal may have sent no goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where a member runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// In this process.
    Here,
    /// In a separate process, which can be killed.
    Process,
}

/// How a member ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Leave,
    Shutdown,
    Die,
}

/// An instance that comes and goes.
pub(crate) struct Member {
    id: String,
    life: Life,
    recorder: Recorder,
}

enum Life {
    Here(Client),
    Process(Child),
}

impl Member {
    /// Starts an instance. With the backend down the member runs unregistered.
    pub(crate) async fn start(home: Home, url: &str, recorder: &Recorder) -> Self {
        let instance = Instance::new(SERVICE, "http://10.0.0.7:8885").expect("they are good");
        let id = instance.id().to_string();
        let started = Event::Started { id: id.clone(), service: SERVICE.to_owned() };
        recorder.record(started);
        let life = match home {
            Home::Here => Life::Here(client(url, instance, settings(), false).await),
            Home::Process => Life::Process(process(url, &id).await),
        };
        Self { id, life, recorder: recorder.clone() }
    }

    /// Ends the instance. While `is_quiet` holds, a goodbye certainly reaches the backend.
    pub(crate) async fn end(self, end: End, is_quiet: impl Fn() -> bool) {
        let id = self.id;
        let has_left = match (self.life, end) {
            (Life::Here(client), End::Die) => {
                drop(client);
                false
            }
            (Life::Here(client), end) => {
                self.recorder.record(Event::Leaving { id: id.clone() });
                match end {
                    End::Leave => client.leave().await.is_ok(),
                    _ => client.shutdown().await.is_ok(),
                }
            }
            (Life::Process(mut child), End::Die) => {
                child.kill().await.expect("the process is ours");
                false
            }
            (Life::Process(mut child), _) => {
                let was_quiet = is_quiet();
                // `wait` would close the standard input, which ends the process without a goodbye.
                let _stdin = child.stdin.take();
                self.recorder.record(Event::Leaving { id: id.clone() });
                let pid = child.id().expect("it runs").to_string();
                let sent = Command::new("kill").args(["-s", "TERM", &pid]).status().await;
                assert!(sent.expect("kill is installed").success());
                let told = Instant::now();
                child.wait().await.expect("the process is ours");
                // A process does not wait for its goodbye for ever, and does not report the result.
                was_quiet && is_quiet() && told.elapsed() < GOODBYE
            }
        };
        self.recorder.record(if has_left { Event::Left { id } } else { Event::Killed { id } });
    }
}

/// Starts a client. A start that the backend refuses is repeated, as a supervisor would do.
async fn client(url: &str, instance: Instance, settings: Settings, signals: bool) -> Client {
    loop {
        let builder = Client::builder(open(url).await).register_instance(instance.clone());
        match builder.settings(settings.clone()).handle_signals(signals).start().await {
            Ok(client) => return client,
            Err(error) if error.kind() == ErrorKind::Denied => sleep(AGAIN).await,
            Err(error) => panic!("an outage is outlived: {error}"),
        }
    }
}

async fn process(url: &str, id: &str) -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    let spawned = Command::new(program)
        .args(["member", url, id])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.expect("this program can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = lines.next_line().await.expect("it is text");
    assert_eq!(line.as_deref(), Some(READY), "a member does not start");
    child
}

/// The program of a member process. It registers, and lives until a signal or the end of its parent.
pub async fn live(url: &str, id: &str) {
    let instance = Instance::from_parts(id.into(), SERVICE, "http://10.0.0.7:8885", [].into());
    let _client = client(url, instance, settings(), true).await;
    writeln!(std::io::stdout(), "{READY}").expect("the parent listens");
    let mut end = [0];
    // Nothing is ever written to this pipe: the read returns when the parent has ended.
    let _ = tokio::io::stdin().read(&mut end).await;
}
