//! Other processes, for tests that need more than one.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::print_stdout, reason = "it is how a process tells the test something")]

pub(crate) mod loud;

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A bound for steps that take well under a second on an idle machine.
pub(crate) const LATE: Duration = Duration::from_secs(60);

const ROLE: &str = "gosdTestRole";

/// The other processes of a test, by the names of their roles.
pub(crate) struct Cast {
    test: &'static str,
}

impl Cast {
    /// Call this first in a test, with the test's name.
    ///
    /// A process in a role is this test binary again, asked to run only that test. In such a process this
    /// call plays the role, and does not return.
    pub(crate) fn new(test: &'static str, roles: &[(&str, fn())]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the role is not a setting of gosd")]
        if let Ok(role) = env::var(ROLE) {
            let (_, play) = roles.iter().find(|(name, _)| *name == role).expect("a known role");
            play();
            std::process::exit(0);
        }
        Self { test }
    }

    /// The command that starts a process in a role.
    pub(crate) fn command(&self, role: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([self.test, "--exact", "--nocapture", "--quiet"]).env(ROLE, role);
        command
    }

    /// Starts a process in a role, with these environment variables.
    pub(crate) fn start(&self, role: &str, env: &[(&str, &str)]) -> Process {
        Process::start(self.command(role).envs(env.iter().copied()))
    }
}

/// A process that is killed when the test ends at the latest.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be run");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // The thread ends with the process's output.
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// Waits for a line with this beginning, and returns the rest of it.
    pub(crate) fn wait_for(&self, start: &str) -> String {
        let mut others = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(LATE) {
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
            others.push(line);
        }
        panic!("{start:?} was expected, and came not: {others:?}")
    }

    /// The next line.
    pub(crate) fn line(&self) -> String {
        self.wait_for("")
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_to(self.child.id(), signal);
    }

    /// Signals the only child of the process, as made by [`as_first_process`].
    pub(crate) fn signal_child(&self, signal: Signal) {
        let id = self.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        signal_to(children.trim().parse().unwrap(), signal);
    }

    /// Whether the process has a handler for the signal.
    pub(crate) fn catches(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
    }

    /// Waits for the end. Returns the exit status, and the lines that were not read yet.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut rest = Vec::new();
        // The output ends with the process.
        loop {
            match self.lines.recv_timeout(LATE) {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end; {rest:?}"),
            }
        }
        (self.child.wait().unwrap(), rest)
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command as the first process of a container, to which the kernel applies no default action.
pub(crate) fn as_first_process(command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--pid", "--fork", "--kill-child", "--"]).arg(command.get_program());
    unshare.args(command.get_args());
    unshare.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(folder) = command.get_current_dir() {
        unshare.current_dir(folder);
    }
    unshare
}

fn signal_to(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// In a role: prints a line for the test.
pub(crate) fn tell(line: &str) {
    println!("{line}");
}

/// In a role: waits for a line from the test. The process ends if the test is gone.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    if io::stdin().read_line(&mut line).unwrap() == 0 {
        std::process::exit(1);
    }
    line.trim_end().to_owned()
}
