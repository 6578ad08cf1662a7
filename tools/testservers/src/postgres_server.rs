//! One PostgreSQL server.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

use crate::server_user::{as_other_than_root, copy_for_server, give_to_server, on_small_disk};
use crate::{Certificates, Process, WallClock, free_port};

const READY: &str = "database system is ready to accept";
const PACKAGE: &str = "postgresql";
/// The folder whose files are kept in memory.
const MEMORY: &str = "/dev/shm";
/// The rule for clients that come over TCP.
const PASSWORDS: &str = "host all all 127.0.0.1/32 scram-sha-256";

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
    /// The rule for clients that come over TCP.
    rule: &'static str,
}

impl PostgresServer {
    /// Starts a server on a free port, with settings such as `["max_connections=5"]`.
    pub async fn start(settings: &[&str]) -> Self {
        Self::run(settings, PASSWORDS, None, Vec::new()).await
    }

    /// Starts a server whose wall clock is one that the test sets.
    pub async fn start_with_clock(clock: &WallClock) -> Self {
        Self::run(&[], PASSWORDS, None, clock.environment()).await
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
        Self::launch_in(directory, &[], Vec::new(), PASSWORDS).await
    }

    async fn run(
        settings: &[&str],
        rule: &'static str,
        certificates: Option<&Certificates>,
        environment: Environment,
    ) -> Self {
        let directory = new_directory();
        make_cluster(directory.path(), rule).await;
        let data = directory.path().join("data");
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
        Self::launch_in(directory, &all, environment, rule).await
    }

    async fn launch_in(
        directory: TempDir,
        settings: &[&str],
        environment: Environment,
        rule: &'static str,
    ) -> Self {
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
        Self { process, directory, port, args, environment, rule }
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

    /// The folder with its data.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Kills the server, if it still runs, and starts it again on the same port and data. If the data were
    /// removed, it starts with an empty cluster.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        if self.data().is_dir() {
            // The data may be a copy.
            fs::set_permissions(self.data(), fs::Permissions::from_mode(0o700))
                .expect("it is ours");
            give_to_server(&self.data());
        } else {
            make_cluster(self.directory.path(), self.rule).await;
        }
        self.process = launch(self.directory.path(), &self.args, &self.environment).await;
    }

    /// Starts the server again if it has ended by itself, and waits until it answers.
    pub async fn revive(&mut self) {
        while self.try_sql("SELECT 1").await.is_err() {
            if self.process.has_ended() {
                self.restart().await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends a signal by name, such as `STOP`, to the server and to the processes that serve its clients.
    pub async fn signal_all(&self, signal: &str) {
        // The first process starts the others, so it is stopped before its children are counted.
        self.process.signal(signal).await;
        for child in children(self.process.id()) {
            // The child may have ended by now.
            let _ = Command::new("kill").args(["-s", signal, &child.to_string()]).output().await;
        }
    }

    /// The words to put before a command, so that the servers which the command starts keep their data on
    /// a disk of so many MiB.
    pub fn on_small_disk(mib: u32) -> Vec<String> {
        on_small_disk(mib, MEMORY)
    }

    /// Fills up the disk of the data, which has to be a [small](Self::on_small_disk) one.
    ///
    /// # Panics
    ///
    /// If the disk is not small.
    pub fn fill_disk(&self) {
        const SMALL: usize = 1 << 30;
        let mut file = fs::File::create(self.filler()).expect("there is room for a name");
        let (mut size, mut written) = (1 << 16, 0);
        while size > 0 {
            match file.write_all(&vec![1; size]) {
                Ok(()) => written += size,
                Err(_) => size /= 2,
            }
            assert!(written < SMALL, "that disk is not small");
        }
    }

    /// Removes what [`fill_disk`](Self::fill_disk) wrote.
    pub fn clear_disk(&self) {
        fs::remove_file(self.filler()).expect("it was filled up");
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }

    /// The folder of the Unix socket. The server trusts everybody who may enter that folder.
    pub(crate) fn socket_folder(&self) -> &Path {
        self.directory.path()
    }

    /// Runs SQL as the superuser over the Unix socket, and returns the rows as `psql -At` prints them.
    ///
    /// # Panics
    ///
    /// If the statement fails.
    pub async fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Does the same as [`sql`](Self::sql), but a failure is an error.
    ///
    /// # Errors
    ///
    /// What `psql` prints, if the statement fails.
    pub async fn try_sql(&self, sql: &str) -> Result<String, String> {
        let socket = self.directory.path().display().to_string();
        let port = self.port.to_string();
        let args = ["-h", &socket, "-p", &port, "-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1"];
        let output = output("psql", &[args.as_slice(), &["-c", sql]].concat()).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("psql prints text");
        match output.status.success() {
            true => Ok(text(output.stdout).trim_end().to_owned()),
            false => Err(text(output.stderr)),
        }
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
    let memory = Path::new(MEMORY);
    let directory = match memory.is_dir() {
        true => TempDir::new_in(memory),
        false => TempDir::new(),
    };
    let directory = directory.expect("a directory can be made");
    give_to_server(directory.path());
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

/// Makes an empty cluster.
async fn make_cluster(directory: &Path, rule: &str) {
    let data = directory.join("data");
    let password = directory.join("password");
    fs::write(&password, "p@ss\n").expect("the directory can be written");
    let (data_text, file) = (data.display().to_string(), password.display().to_string());
    let cluster = ["-D", &data_text, "-U", "postgres", "--pwfile", &file];
    let fast = ["--no-sync", "--wal-segsize=1", "-E", "UTF8", "--locale=C"];
    run("initdb", &[cluster.as_slice(), &fast].concat()).await;
    let rules = format!("local all all trust\nlocal replication all trust\n{rule}\n");
    fs::write(data.join("pg_hba.conf"), rules).expect("it is ours");
}

/// Runs one of PostgreSQL's programs to its end, which has to be a success.
async fn run(program: &str, args: &[&str]) {
    let output = output(program, args).await;
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} fails: {says}");
}

async fn output(program: &str, args: &[&str]) -> Output {
    let command = as_server(program);
    Command::new(&command[0])
        .args(&command[1..])
        .args(args)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| {
            panic!("cannot run {program}: {error}; install the Debian package {PACKAGE}")
        })
}

/// The running processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // After the name, which may hold anything, come the state and the parent.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(&parent))
    };
    let all = fs::read_dir("/proc").expect("this is Linux").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

/// The command of one of PostgreSQL's programs, as a user other than root, because PostgreSQL refuses root.
fn as_server(program: &str) -> Vec<String> {
    let mut command = as_other_than_root();
    command.push(binaries().join(program).display().to_string());
    command
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
