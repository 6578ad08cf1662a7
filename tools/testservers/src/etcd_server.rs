//! One etcd server.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Certificates, Process, free_port};

/// What etcd logs once it serves requests, which a member of a cluster does once there is a leader.
const READY: &str = "serving client traffic";

/// An etcd member with its own data directory, in memory where possible.
#[derive(Debug)]
pub struct EtcdServer {
    process: Process,
    directory: TempDir,
    port: u16,
    args: Vec<String>,
    /// The arguments with which `etcdctl` reaches the member.
    access: Vec<String>,
}

impl EtcdServer {
    /// Starts a cluster of one member, with more arguments, such as `["--auth-token-ttl", "1"]`.
    pub async fn start(args: &[&str]) -> Self {
        let name = "one";
        let peer = format!("http://127.0.0.1:{}", free_port());
        Self::member(name, &peer, &format!("{name}={peer}"), args).await
    }

    /// Starts a member that accepts only TLS, and asks for client certificates on request.
    pub async fn start_tls(certificates: &Certificates, ask_for_client_certificates: bool) -> Self {
        let file = |name| certificates.text(name);
        let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
        let peer = format!("http://127.0.0.1:{}", free_port());
        let mut args = vec!["--cert-file", &cert, "--key-file", &key, "--trusted-ca-file", &ca];
        if ask_for_client_certificates {
            args.push("--client-cert-auth");
        }
        let (cert, key) = (file("client.pem"), file("client.key"));
        let access = ["--cacert", &ca, "--cert", &cert, "--key", &key].map(Into::into);
        Self::run("https", "one", &peer, &format!("one={peer}"), &args, access.into()).await
    }

    /// Starts a member of a cluster. It is ready once a majority of the members runs.
    pub(crate) async fn member(name: &str, peer: &str, cluster: &str, args: &[&str]) -> Self {
        Self::run("http", name, peer, cluster, args, Vec::new()).await
    }

    async fn run(
        scheme: &str,
        name: &str,
        peer: &str,
        cluster: &str,
        args: &[&str],
        mut access: Vec<String>,
    ) -> Self {
        let port = free_port();
        let client = format!("{scheme}://127.0.0.1:{port}");
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        let directory = directory.expect("a directory can be made");
        let data = directory.path().join("data");
        let data = data.to_str().expect("the path is UTF-8");
        let fixed = [
            ["--name", name],
            ["--data-dir", data],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", peer],
            ["--initial-advertise-peer-urls", peer],
            ["--initial-cluster", cluster],
            ["--logger", "zap"],
            ["--log-outputs", "stdout"],
            ["--bcrypt-cost", "4"],
        ];
        let args: Vec<String> =
            fixed.as_flattened().iter().chain(args).map(ToString::to_string).collect();
        let process = launch(&args).await;
        access.extend(["--endpoints".to_owned(), client]);
        Self { process, directory, port, args, access }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The process, to send it signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the process, if it still runs, and starts it again on the same port and data.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.process = launch(&self.args).await;
    }

    /// Kills the process, and starts it again with an empty data directory.
    pub async fn restart_empty(&mut self) {
        self.process.kill().await;
        std::fs::remove_dir_all(self.directory.path().join("data")).expect("it is ours");
        self.process = launch(&self.args).await;
    }

    /// Runs `etcdctl`, and returns what it prints.
    pub async fn ctl(&self, args: &[&str]) -> String {
        self.try_ctl(args).await.unwrap_or_else(|error| panic!("etcdctl {args:?} fails: {error}"))
    }

    /// Runs `etcdctl` where a failure is expected. The error is what `etcdctl` prints.
    pub async fn try_ctl(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(&self.access)
            .args(args)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| {
                panic!("cannot run etcdctl: {error}; install the Debian package etcd-client")
            });
        let text = |bytes| String::from_utf8(bytes).expect("etcdctl prints text");
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Turns authentication on, with the users `root:root` and `gosd:p@ss`. The latter may read and write the
    /// keys that begin with the prefix.
    pub async fn enable_auth(&mut self, prefix: &str) {
        for command in [
            "user add root:root",
            "user grant-role root root",
            "role add gosd",
            &format!("role grant-permission gosd readwrite --prefix=true {prefix}"),
            "user add gosd:p@ss",
            "user grant-role gosd gosd",
            "auth enable",
        ] {
            self.ctl(&command.split(' ').collect::<Vec<&str>>()).await;
        }
        self.access.extend(["--user".to_owned(), "root:root".to_owned()]);
    }
}

async fn launch(args: &[String]) -> Process {
    Process::start("etcd", "etcd-server", args, READY).await
}
