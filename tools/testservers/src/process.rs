//! A child process that reports when it is ready, and ends with its owner.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a server may take to start, on a busy machine too.
const START: Duration = Duration::from_secs(60);

/// The process of a server, killed on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program, and waits for the line of its output that says it is ready.
    ///
    /// # Panics
    ///
    /// If the program is not installed, or ends before it is ready.
    pub async fn start<S: AsRef<OsStr>>(
        program: &str,
        package: &str,
        args: impl IntoIterator<Item = S>,
        ready: &str,
    ) -> Self {
        Self::start_in(&[], program, package, args, ready).await
    }

    /// Like [`start`](Self::start), with environment variables.
    ///
    /// # Panics
    ///
    /// Like [`start`](Self::start).
    pub async fn start_in<S: AsRef<OsStr>>(
        environment: &[(&str, String)],
        program: &str,
        package: &str,
        args: impl IntoIterator<Item = S>,
        ready: &str,
    ) -> Self {
        let spawned = Command::new(program)
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("cannot start {program}: {error}; install the Debian package {package}")
        });
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut log = Vec::new();
        let becomes_ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains(ready) {
                    return true;
                }
                log.push(line);
            }
            false
        };
        let is_ready = timeout(START, becomes_ready).await.unwrap_or(false);
        assert!(is_ready, "{program} does not start:\n{}", log.join("\n"));
        // The rest of the output is read and dropped, because a full pipe would stop the server.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Kills the process, as `kill -9` does, and waits for its end. Does nothing if it has ended already.
    pub async fn kill(&mut self) {
        if self.has_ended() {
            return;
        }
        self.child.kill().await.expect("the process is ours");
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process is ours").is_some()
    }

    /// Kills the process if it still runs, and does not wait for its end.
    pub(crate) fn start_kill(&mut self) {
        // This fails if the process has ended.
        let _ = self.child.start_kill();
    }

    /// Waits for the end of the process, for example after a signal.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.expect("the process is ours")
    }

    /// Sends a signal by name, such as `STOP`, after which the process lives on and answers nothing.
    pub async fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().await;
        assert!(status.expect("kill is installed").success());
    }
}
