//! Other processes, for tests that need more than one.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::LATE;

const ROLE: &str = "gosdTestRole";

/// Call this first in a test that starts itself again. In such a process this plays the role for the path
/// that it was given, and does not return.
pub(crate) fn act(play: impl FnOnce(&Path)) {
    #[expect(clippy::disallowed_methods, reason = "the role is not a setting of gosd")]
    if let Some(path) = env::var_os(ROLE) {
        play(Path::new(&path));
        std::process::exit(0);
    }
}

/// The command that plays a test's role in another process, behind the command in `before`, if there is one.
pub(crate) fn again(test: &str, path: &Path, before: &[&str]) -> Command {
    let this = env::current_exe().expect("a test has a path");
    let mut words: Vec<OsString> = before.iter().map(OsString::from).collect();
    words.push(this.into());
    words.extend([test, "--exact", "--nocapture", "--quiet"].map(OsString::from));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(ROLE, path);
    command
}

/// A process that is killed when the test ends at the latest.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be run");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        // The thread ends with the process's output.
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, stdin, lines }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it listens");
    }

    /// Waits for a line with this beginning, and returns the rest of it.
    pub(crate) fn hear(&self, start: &str) -> String {
        let mut others = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(LATE) {
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
            others.push(line);
        }
        panic!("{start:?} was expected, and came not: {others:?}")
    }

    /// As kill -9 does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a role: prints a line for the test.
pub(crate) fn tell(line: &str) {
    writeln!(io::stdout(), "{line}").expect("the test listens");
}

/// In a role: waits for a line from the test. The process ends if the test is gone.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    if io::stdin().read_line(&mut line).expect("text") == 0 {
        std::process::exit(1);
    }
    line.trim_end().to_owned()
}

/// Starts a test again, with a separate file system mounted at the path.
pub(crate) fn mounted(test: &str, path: &Path, mount: &str) -> Command {
    let script = format!(r#"mount {mount} "$gosdTestRole" && exec "$0" "$@""#);
    again(test, path, &["unshare", "--map-root-user", "--mount", "sh", "-c", &script])
}

/// Runs a test's role to its end.
pub(crate) fn succeed(mut command: Command) {
    let output = command.output().expect("unshare and setpriv, of util-linux, are needed");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Writes a file until its disk, which is small, is full.
pub(crate) fn fill(path: &Path) {
    let mut size = 1 << 20;
    let mut all = Vec::new();
    while size > 0 {
        all.extend(vec![1; size]);
        if fs::write(path, &all).is_err() {
            all.truncate(all.len() - size);
            size /= 2;
        }
    }
}
