//! The databases of the simulations, each started for one of them.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use gosd_testservers::{EtcdServer, PostgresServer, Process, RedisServer, free_port};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::server::READY;

/// Connections enough for all clients that a simulation may have.
const CONNECTIONS: &str = "15000";
/// What the clients of registry servers have: the servers listen on every address of this machine.
pub static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1))
});

/// A database, and the registry servers before it.
pub enum Backend {
    Sqlite(TempDir),
    Redis(RedisServer, u32),
    Postgres(PostgresServer, u32),
    Etcd(EtcdServer, u32),
    Http(Process, u16),
    Tier(RedisServer, u32, Vec<(Process, u16)>),
}

impl Backend {
    pub async fn start(driver: &str, clients: usize) -> Self {
        match driver {
            "sqlite" => Self::Sqlite(TempDir::new().expect("a directory can be made")),
            "redis" => {
                let (server, id) = redis().await;
                Self::Redis(server, id)
            }
            "postgres" => {
                let connections = format!("max_connections={}", 2 * clients + 50);
                let mut server = PostgresServer::start(&[&connections]).await;
                let id = server.process().id();
                Self::Postgres(server, id)
            }
            "etcd" => {
                let mut server = EtcdServer::start(&[]).await;
                let id = server.process().id();
                Self::Etcd(server, id)
            }
            "http" => {
                let (process, port) = serve(None).await;
                Self::Http(process, port)
            }
            "tier" => {
                let (server, id) = redis().await;
                let mut tier = Vec::new();
                for _ in 0..3 {
                    tier.push(serve(Some(server.url())).await);
                }
                Self::Tier(server, id, tier)
            }
            other => panic!("no such driver: {other}"),
        }
    }

    /// What a service has in `gosdDriver`.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("gosd.db").display()),
            Self::Redis(server, _) => server.url(),
            Self::Postgres(server, _) => server.url(),
            Self::Etcd(server, _) => format!("etcd://127.0.0.1:{}", server.port()),
            Self::Http(_, port) => format!("http://:{}@127.0.0.1:{port}", *TOKEN),
            Self::Tier(_, _, tier) => {
                let hosts: Vec<_> =
                    tier.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect();
                format!("http://:{}@{}", *TOKEN, hosts.join(","))
            }
        }
    }

    /// The process of the database, if it has one.
    pub fn database(&self) -> Option<u32> {
        match self {
            Self::Sqlite(_) => None,
            Self::Redis(_, id)
            | Self::Postgres(_, id)
            | Self::Etcd(_, id)
            | Self::Tier(_, id, _) => Some(*id),
            Self::Http(process, _) => Some(process.id()),
        }
    }

    /// The processes of the registry servers before the database.
    pub fn tier(&self) -> Vec<u32> {
        match self {
            Self::Tier(_, _, tier) => tier.iter().map(|(process, _)| process.id()).collect(),
            _ => Vec::new(),
        }
    }

    /// The port of the Redis server behind a tier.
    pub fn port_of_redis(&self) -> Option<u16> {
        match self {
            Self::Tier(server, ..) => Some(server.port()),
            _ => None,
        }
    }

    /// The ports of the registry servers.
    pub fn ports(&self) -> Vec<u16> {
        match self {
            Self::Tier(_, _, tier) => tier.iter().map(|(_, port)| *port).collect(),
            _ => Vec::new(),
        }
    }

    /// Asks the first of the registry servers to end, and starts it again.
    pub async fn restart_first(&mut self) {
        let Self::Tier(database, _, tier) = self else { return };
        let Some((process, port)) = tier.first_mut() else { return };
        process.signal("TERM").await;
        process.ended().await;
        *process = serve_at(*port, Some(database.url())).await;
    }

    /// Kills each of the registry servers in turn for a time, and starts it again.
    pub async fn kill_each(&mut self, time: Duration) {
        let Self::Tier(database, _, tier) = self else { return };
        for (process, port) in tier {
            process.kill().await;
            sleep(time).await;
            *process = serve_at(*port, Some(database.url())).await;
            sleep(time).await;
        }
    }

    /// What the bare subscribers connect to, if the database has something that compares.
    pub fn bare(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Redis(server, _) => Some(("redis", format!("127.0.0.1:{}", server.port()))),
            Self::Postgres(server, _) => Some(("postgres", server.url())),
            Self::Etcd(server, _) => Some(("etcd", format!("127.0.0.1:{}", server.port()))),
            Self::Sqlite(_) | Self::Http(..) | Self::Tier(..) => None,
        }
    }

    /// The bytes that the database has sent, if it counts them.
    pub async fn sent(&self) -> Option<f64> {
        let (port, request, field) = match self {
            Self::Redis(server, _) => {
                (server.port(), "INFO stats\r\nQUIT\r\n", "total_net_output_bytes:")
            }
            Self::Etcd(server, _) => (
                server.port(),
                "GET /metrics HTTP/1.0\r\n\r\n",
                "etcd_network_client_grpc_sent_bytes_total ",
            ),
            // The database of a tier sends to three watchers, however many clients there are.
            Self::Sqlite(_) | Self::Postgres(..) | Self::Http(..) | Self::Tier(..) => return None,
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let line = answer.lines().find_map(|line| line.strip_prefix(field));
        Some(line.expect("it is counted").trim().parse().expect("a number"))
    }
}

async fn redis() -> (RedisServer, u32) {
    let mut server = RedisServer::start(&["--maxclients", CONNECTIONS]).await;
    let id = server.process().id();
    (server, id)
}

/// Starts a registry server over a database, or over memory.
async fn serve(url: Option<String>) -> (Process, u16) {
    let port = free_port();
    (serve_at(port, url).await, port)
}

async fn serve_at(port: u16, url: Option<String>) -> Process {
    let program = std::env::current_exe().expect("the program has a path");
    let program = program.to_str().expect("the path is UTF-8");
    let mut args = vec!["serve".to_owned(), format!("0.0.0.0:{port}"), TOKEN.clone()];
    args.extend(url);
    Process::start(program, "cargo", args, READY).await
}
