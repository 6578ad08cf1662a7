//! The program as a process, and the database that it works on.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use gosd::{Driver, Drivers, Instance, InstanceId};
use gosd_testservers::{PostgresServer, RedisServer};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A bound for steps that take well under a second on an idle machine.
pub(crate) const LATE: Duration = Duration::from_secs(60);

/// A lease longer than any test.
pub(crate) const LEASE: Duration = Duration::from_secs(3_600);

/// A database and a working directory.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) url: String,
    /// Whose server ends with the place, if it has one.
    _server: Option<Box<dyn Any + Send>>,
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}/gosd.db", directory.path().display());
        Self { directory, url, _server: None }
    }

    pub(crate) async fn redis() -> Self {
        let server = RedisServer::start(&[]).await;
        Self { url: server.url(), _server: Some(Box::new(server)), ..Self::at("") }
    }

    pub(crate) async fn postgres() -> Self {
        let server = PostgresServer::start(&[]).await;
        Self { url: server.url(), _server: Some(Box::new(server)), ..Self::at("") }
    }

    /// One of each kind of database.
    pub(crate) async fn of_each_kind() -> [Self; 3] {
        [Self::sqlite(), Self::redis().await, Self::postgres().await]
    }

    /// A database whose server the test has started.
    pub(crate) fn at(url: impl Into<String>) -> Self {
        Self { directory: TempDir::new().unwrap(), url: url.into(), _server: None }
    }

    /// The driver of the database, as services use it.
    pub(crate) async fn driver(&self) -> Arc<dyn Driver> {
        Drivers::compiled().open(&self.url).await.unwrap()
    }

    /// The program, without the environment of the tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gosd"));
        command.args(args).env_clear().env("gosdDriver", &self.url);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.command(args))
    }

    /// Runs a command that has to succeed, and returns its output.
    pub(crate) fn out(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    pub(crate) fn start(&self, args: &[&str]) -> Process {
        Process::start(&mut self.command(args))
    }
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An instance whose id, and therefore whose age, is the same in every run.
pub(crate) fn fixed(service: &str, number: u8, url: &str) -> Instance {
    let id = format!("{service}-0199f3a0c5b07abc8def0123456789{number:02x}");
    Instance::from_parts(InstanceId::from(id), service, url, [].into())
}

/// A process whose output is read, and that is killed when the test ends at the latest.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// Lines that were read while the test waited for another one. The order of two outputs is random.
    passed_over: RefCell<VecDeque<String>>,
}

impl Process {
    /// Starts a process. Its two outputs are read as one.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for output in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let sender = sender.clone();
            // The thread ends with the process's output.
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, lines, passed_over: RefCell::default() }
    }

    /// Waits for a line that contains this text, and returns the line.
    pub(crate) fn wait_for(&self, part: &str) -> String {
        let mut others = self.passed_over.borrow_mut();
        if let Some(at) = others.iter().position(|line| line.contains(part)) {
            return others.remove(at).unwrap();
        }
        let until = Instant::now() + LATE;
        // The bound holds however many other lines come.
        while let Ok(line) = self.lines.recv_timeout(until - Instant::now().min(until)) {
            if line.contains(part) {
                return line;
            }
            others.push_back(line);
        }
        panic!("{part:?} was expected, and came not: {others:?}")
    }

    /// Whether a line that was read so far, and not waited for, contains this text.
    pub(crate) fn has_said(&self, part: &str) -> bool {
        let mut others = self.passed_over.borrow_mut();
        others.extend(self.lines.try_iter());
        others.iter().any(|line| line.contains(part))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_to(self.id(), signal);
    }

    /// Waits for the end of this process only, whatever other process keeps its output open.
    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// Waits for the end. Returns the exit status, and the lines that were not read yet.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut rest: Vec<String> = self.passed_over.take().into();
        loop {
            match self.lines.recv_timeout(LATE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; {rest:?}"),
            }
        }
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal_to(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), signal).unwrap();
}
