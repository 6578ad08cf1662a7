//! One PostgreSQL server.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Certificates, Process, WallClock, free_port};

const READY: &str = "database system is ready to accept";
const PACKAGE: &str = "postgresql";

type Environment = Vec<(&'static str, String)>;

/// A PostgreSQL server with its own data, in memory where possible.
///
/// It does not wait for the disk. It trusts every client of the Unix socket. Over TCP it accepts the
/// superuser `postgres`, password `p@ss`, and the users that a test adds.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    directory: TempDir,
    port: u16,
    args: Vec<String>,
    environment: Environment,
}

impl PostgresServer {
    /// Starts a server on a free port, with settings such as `["max_connections=5"]`.
    pub async fn start(settings: &[&str]) -> Self {
        Self::run(settings, "host all all 127.0.0.1/32 scram-sha-256", None, Vec::new()).await
    }

    /// Starts a server whose wall clock is one that the test sets.
    pub async fn start_with_clock(clock: &WallClock) -> Self {
        let rule = "host all all 127.0.0.1/32 scram-sha-256";
        Self::run(&[], rule, None, clock.environment()).await
    }

    /// Starts a server that over TCP accepts only TLS, and asks for client certificates on request.
    pub async fn start_tls(certificates: &Certificates, ask_for_client_certificates: bool) -> Self {
        let rule = match ask_for_client_certificates {
            true => "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca",
            false => "hostssl all all 127.0.0.1/32 scram-sha-256",
        };
        Self::run(&[], rule, Some(certificates), Vec::new()).await
    }

    /// Starts a streaming replica of this server, which follows it until it is [promoted](Self::sql)
    /// by `SELECT pg_promote()`.
    pub async fn start_replica(&self) -> Self {
        let directory = new_directory();
        let data = directory.path().join("data");
        let socket = self.directory.path().display().to_string();
        let (port, data_text) = (self.port.to_string(), data.display().to_string());
        let base = ["-h", &socket, "-p", &port, "-U", "postgres", "-D", &data_text];
        let follow = ["-R", "-X", "stream", "--checkpoint=fast", "--no-sync"];
        run("pg_basebackup", &[base.as_slice(), &follow].concat()).await;
        Self::launch_in(directory, &[], Vec::new()).await
    }

    async fn run(
        settings: &[&str],
        rule: &str,
        certificates: Option<&Certificates>,
        environment: Environment,
    ) -> Self {
        let directory = new_directory();
        let data = directory.path().join("data");
        let password = directory.path().join("password");
        fs::write(&password, "p@ss\n").expect("the directory can be written");
        let (data_text, file) = (data.display().to_string(), password.display().to_string());
        let cluster = ["-D", &data_text, "-U", "postgres", "--pwfile", &file];
        let fast = ["--no-sync", "--wal-segsize=1", "-E", "UTF8", "--locale=C"];
        run("initdb", &[cluster.as_slice(), &fast].concat()).await;
        let rules = format!("local all all trust\nlocal replication all trust\n{rule}\n");
        fs::write(data.join("pg_hba.conf"), rules).expect("it is ours");
        let mut all = settings.to_vec();
        if let Some(certificates) = certificates {
            for name in ["ca.pem", "server.pem", "server.key"] {
                copy_for_server(&certificates.path(name), &data.join(name), directory.path());
            }
            all.extend([
                "ssl=on",
                "ssl_ca_file=ca.pem",
                "ssl_cert_file=server.pem",
                "ssl_key_file=server.key",
            ]);
        }
        Self::launch_in(directory, &all, environment).await
    }

    async fn launch_in(directory: TempDir, settings: &[&str], environment: Environment) -> Self {
        let port = free_port();
        let path = directory.path().display();
        let fixed = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={path}"),
            "fsync=off".to_owned(),
            // A file in the directory, so that shared memory goes with the directory of a server that is
            // killed.
            "dynamic_shared_memory_type=mmap".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
        ];
        let mut args = vec!["-D".to_owned(), format!("{path}/data")];
        for setting in fixed.into_iter().chain(settings.iter().map(ToString::to_string)) {
            args.extend(["-c".to_owned(), setting]);
        }
        let process = launch(directory.path(), &args, &environment).await;
        Self { process, directory, port, args, environment }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the superuser's database, without a query.
    pub fn url(&self) -> String {
        format!("postgres://postgres:p%40ss@127.0.0.1:{}/postgres", self.port)
    }

    /// The process, to send it signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the server, if it still runs, and starts it again on the same port and data.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.process = launch(self.directory.path(), &self.args, &self.environment).await;
    }

    /// Runs SQL as the superuser over the Unix socket, and returns the rows as `psql -At` prints them.
    ///
    /// # Panics
    ///
    /// If the statement fails.
    pub async fn sql(&self, sql: &str) -> String {
        let socket = self.directory.path().display().to_string();
        let port = self.port.to_string();
        let args = ["-h", &socket, "-p", &port, "-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1"];
        let output = run("psql", &[args.as_slice(), &["-c", sql]].concat()).await;
        String::from_utf8(output.stdout).expect("psql prints text").trim_end().to_owned()
    }
}

/// Child processes of the server live a moment longer than the first one, and write into the directory.
impl Drop for PostgresServer {
    fn drop(&mut self) {
        const TRIES: u32 = 1_000;
        self.process.start_kill();
        let left = |_: &u32| fs::remove_dir_all(self.directory.path()).is_err();
        (0..TRIES).take_while(left).for_each(|_| std::thread::yield_now());
    }
}

fn new_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => TempDir::new_in(memory),
        false => TempDir::new(),
    };
    let directory = directory.expect("a directory can be made");
    if is_root() {
        let (user, group) = server_user();
        std::os::unix::fs::chown(directory.path(), Some(user), Some(group)).expect("we are root");
    }
    directory
}

async fn launch(directory: &Path, args: &[String], environment: &Environment) -> Process {
    let mut command = vec!["-c".to_owned(), r#"exec "$@" 2>&1"#.to_owned(), "sh".to_owned()];
    command.extend(as_server("postgres"));
    command.extend(args.iter().cloned());
    let process = Process::start_in(environment, "sh", PACKAGE, command, READY).await;
    // PostgreSQL recognizes its data directories by a segment of shared memory, which outlives a process that
    // is killed. So the segment is marked to be removed with the last process that uses it.
    let lock = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    if let Some(id) = lock.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
        let _ = Command::new("ipcrm").args(["-m", id]).output().await;
    }
    process
}

/// Runs one of PostgreSQL's programs to its end.
async fn run(program: &str, args: &[&str]) -> Output {
    let command = as_server(program);
    let output = Command::new(&command[0])
        .args(&command[1..])
        .args(args)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| {
            panic!("cannot run {program}: {error}; install the Debian package {PACKAGE}")
        });
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} fails: {says}");
    output
}

/// The command of one of PostgreSQL's programs, as a user other than root, because PostgreSQL refuses root.
fn as_server(program: &str) -> Vec<String> {
    let path = binaries().join(program).display().to_string();
    if !is_root() {
        return vec![path];
    }
    let (user, group) = server_user();
    let (user, group) = (format!("--reuid={user}"), format!("--regid={group}"));
    vec!["setpriv".into(), user, group, "--clear-groups".into(), path]
}

/// The directory in which Debian has the programs of the newest version.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .max();
    newest.unwrap_or_else(|| panic!("there is no initdb; install the Debian package {PACKAGE}"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The numeric ids of the user `postgres` and its group.
fn server_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("there are users");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("Debian's package makes the user").split(':').skip(2);
    let mut number = || fields.next().and_then(|it| it.parse().ok()).expect("a number");
    (number(), number())
}

/// Copies a file so that the server accepts it: a key has to belong to the server's user, and be readable
/// only to it.
fn copy_for_server(from: &Path, to: &Path, owner_of: &Path) {
    fs::copy(from, to).expect("the file can be copied");
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let owner = fs::metadata(owner_of).expect("it is there");
    std::os::unix::fs::chown(to, Some(owner.uid()), Some(owner.gid())).expect("we may");
}
