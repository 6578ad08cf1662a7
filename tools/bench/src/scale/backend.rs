use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use gosd_core::{Driver, Memory, Result};
use gosd_server::{Limits, Settings, serve as serve_http};
use gosd_testservers::{EtcdServer, Process, RedisServer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A database of its own for one simulation.
pub enum Backend {
    Sqlite(TempDir),
    Redis(RedisServer, u32),
    Etcd(EtcdServer, u32),
    Http(Process, u16),
}

impl Backend {
    pub async fn start(driver: &str) -> Self {
        match driver {
            "sqlite" => Self::Sqlite(TempDir::new().expect("a directory can be made")),
            "redis" => {
                let mut server = RedisServer::start(&[]).await;
                let id = server.process().id();
                Self::Redis(server, id)
            }
            "etcd" => {
                let mut server = EtcdServer::start(&[]).await;
                let id = server.process().id();
                Self::Etcd(server, id)
            }
            "http" => {
                let port = gosd_testservers::free_port();
                let program = std::env::current_exe().expect("the program has a path");
                let program = program.to_str().expect("the path is UTF-8");
                let args = ["serve".to_owned(), format!("127.0.0.1:{port}")];
                Self::Http(Process::start(program, "none", args, "serving").await, port)
            }
            other => panic!("no such driver: {other}"),
        }
    }

    /// Another driver, as another process has it.
    pub async fn driver(&self) -> Result<Arc<dyn Driver>> {
        match self {
            Self::Sqlite(folder) => {
                let file = folder.path().join("gosd.db");
                gosd_sqlite::open(&format!("sqlite:{}", file.display())).await
            }
            Self::Redis(server, _) => gosd_redis::open(&server.url()).await,
            Self::Etcd(server, _) => {
                gosd_etcd::open(&format!("etcd://127.0.0.1:{}", server.port())).await
            }
            Self::Http(_, port) => gosd_http::open(&format!("http://127.0.0.1:{port}")).await,
        }
    }

    /// The process that serves; without a server it is this one.
    pub fn process(&self) -> u32 {
        match self {
            Self::Sqlite(_) => std::process::id(),
            Self::Redis(_, id) | Self::Etcd(_, id) => *id,
            Self::Http(process, _) => process.id(),
        }
    }

    /// The bytes that the server sent, if it counts them.
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
            Self::Sqlite(_) | Self::Http(..) => return None,
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let line = answer.lines().find_map(|line| line.strip_prefix(field));
        Some(line.expect("it is counted").trim().parse().expect("a number"))
    }
}

/// Serves the custom API over memory until it is killed.
pub async fn serve() {
    let address = std::env::args().nth(2).expect("an address");
    let mut limits = Limits::default();
    limits.requests_per_second = 1_000_000;
    limits.burst = 1_000_000;
    limits.watchers = 1_000_000;
    limits.watchers_per_client = 1_000_000;
    limits.connections = 1_000_000;
    limits.instances = 1_000_000;
    let settings = Settings::new().namespace("gosd", Arc::new(Memory::new()));
    let address: SocketAddr = address.parse().expect("an address");
    let server = serve_http(address, settings.expect("a good name").limits(limits)).await;
    let _server = server.expect("the port is free");
    println!("serving");
    pending().await
}
