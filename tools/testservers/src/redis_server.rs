//! One Redis server.

use std::path::PathBuf;

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::{Certificates, Process, WallClock, free_port};

const READY: &str = "Ready to accept connections";

type Environment = Vec<(&'static str, String)>;

/// A Redis server, without persistence unless the arguments ask for it.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    directory: TempDir,
    port: u16,
    args: Vec<String>,
    environment: Environment,
}

impl RedisServer {
    /// Starts a server on a free port, with more arguments, such as `["--requirepass", "secret"]`.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_at(free_port(), args).await
    }

    /// Starts a server on a port from [`free_port`].
    pub async fn start_at(port: u16, args: &[&str]) -> Self {
        Self::run_plain(port, args, Vec::new()).await
    }

    /// Starts a server on a free port, whose wall clock is one that the test sets.
    pub async fn start_with_clock(clock: &WallClock, args: &[&str]) -> Self {
        Self::run_plain(free_port(), args, clock.environment()).await
    }

    async fn run_plain(port: u16, args: &[&str], environment: Environment) -> Self {
        let port_text = port.to_string();
        let mut all = vec!["--port", &port_text];
        all.extend(args);
        Self::run(port, &all, environment).await
    }

    /// Starts a server that accepts only TLS, and asks for client certificates on request.
    pub async fn start_tls(certificates: &Certificates, ask_for_client_certificates: bool) -> Self {
        let port = free_port();
        Self::run(
            port,
            &[
                "--port",
                "0",
                "--tls-port",
                &port.to_string(),
                "--tls-ca-cert-file",
                &certificates.text("ca.pem"),
                "--tls-cert-file",
                &certificates.text("server.pem"),
                "--tls-key-file",
                &certificates.text("server.key"),
                "--tls-auth-clients",
                if ask_for_client_certificates { "yes" } else { "no" },
            ],
            Vec::new(),
        )
        .await
    }

    async fn run(port: u16, args: &[&str], environment: Environment) -> Self {
        let directory = TempDir::new().expect("a directory can be made");
        let path = directory.path().to_str().expect("the path is UTF-8").to_owned();
        let socket = format!("{path}/redis.sock");
        let fixed = ["--bind", "127.0.0.1", "--save", "", "--dir", &path, "--unixsocket", &socket];
        let args: Vec<String> = fixed.iter().chain(args).map(ToString::to_string).collect();
        let process = start(&environment, &args).await;
        Self { process, directory, port, args, environment }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the server, without a path or a query.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The directory of the append-only file, with `--appendonly yes`.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("appendonlydir")
    }

    /// The process, to send it signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts the server again after its process was killed, on the same port.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.process = start(&self.environment, &self.args).await;
    }

    /// A connection for the test itself, without TLS and past any proxy.
    ///
    /// Only for servers whose default user needs no password, or the given one.
    pub async fn connect(&self, password: Option<&str>) -> MultiplexedConnection {
        let password = password.map_or(String::new(), |password| format!("?pass={password}"));
        let socket = self.directory.path().join("redis.sock");
        let url = format!("redis+unix://{}{password}", socket.display());
        connect(&url).await
    }
}

async fn start(environment: &Environment, args: &[String]) -> Process {
    Process::start_in(environment, "redis-server", "redis-server", args, READY).await
}

/// A connection that waits for an answer without a bound.
pub(crate) async fn connect(url: &str) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url).expect("the URL is good");
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    connection.unwrap_or_else(|error| panic!("cannot connect to {url}: {error}"))
}
