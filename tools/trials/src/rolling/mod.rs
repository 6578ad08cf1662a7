//! Rolling restarts: servers are replaced by SIGTERM, one after another, while requests run.

mod requests;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Client, Memory};
use gosd_testservers::Process;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

pub use requests::Tally;
pub use server::serve;

use crate::backend::{Backend, Kind, open};
use crate::history::Recorder;
use requests::Requests;

/// The service that is restarted.
const SERVICE: &str = "orders";
/// How many servers are replaced.
const SERVERS: usize = 3;
/// How often each server is replaced.
const ROUNDS: usize = 3;
/// How long requests run before the first replacement, and between two replacements.
const PAUSE: Duration = Duration::from_secs(1);
/// A bound for steps that take a few seconds on an idle machine.
const LATE: Duration = Duration::from_secs(60);

/// The registry of a rolling restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// A registry server over [`Memory`], in this process.
    Memory,
    /// One of the backends of the trials.
    Of(Kind),
}

impl Registry {
    /// All registries.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Memory).chain(Kind::ALL.iter().map(|(kind, _)| Self::Of(*kind)))
    }
}

impl std::fmt::Display for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.pad("memory, by http"),
            Self::Of(kind) => kind.fmt(f),
        }
    }
}

/// The results of the requests during a rolling restart.
#[derive(Clone, Copy, Debug)]
pub struct Rolled {
    /// Requests that each opened a connection.
    pub alone: Tally,
    /// Requests over connections that were kept open.
    pub kept: Tally,
    /// The longest time from a SIGTERM to the end of its process.
    pub slowest_end: Duration,
}

impl Rolled {
    /// Whether no request failed.
    pub fn held(&self) -> bool {
        self.alone.answered > 0 && self.kept.answered > 0 && self.failed() == 0
    }

    /// How many requests failed.
    pub fn failed(&self) -> u32 {
        self.alone.failed + self.kept.failed
    }
}

/// Replaces each of three servers three times, while a client sends 200 requests a second in each of two
/// ways.
///
/// `program` is the path of `gosd-trials`; `drain` is the setting of the servers.
///
/// # Panics
///
/// If something cannot be started, or does not end.
pub async fn roll(program: &Path, registry: Registry, drain: Duration) -> Rolled {
    let folder = TempDir::new().expect("a directory can be made");
    let backend = Running::start(registry, folder.path()).await;
    let url = backend.url();
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(server::start(program, &url, drain).await);
    }
    let client = Client::builder(open(&url).await).handle_signals(false).start().await;
    let client = client.expect("the database is there");
    timeout(LATE, until_all_are_seen(&client)).await.expect("the servers are registered");

    let requests = Requests::begin(&client);
    sleep(PAUSE).await;
    let mut slowest_end = Duration::ZERO;
    for _ in 0..ROUNDS {
        for server in &mut servers {
            slowest_end = slowest_end.max(end(server).await);
            *server = server::start(program, &url, drain).await;
            sleep(PAUSE).await;
        }
    }
    let (alone, kept) = requests.end().await;
    client.shutdown().await.expect("the database is there");
    Rolled { alone, kept, slowest_end }
}

async fn until_all_are_seen(client: &Client) {
    let mut changes = client.changes();
    while client.instances(SERVICE).len() < SERVERS {
        changes.next().await;
    }
}

/// Sends a server SIGTERM, waits until it has ended, and returns how long that took.
async fn end(server: &mut Process) -> Duration {
    let asked = Instant::now();
    server.signal("TERM").await;
    timeout(LATE, server.ended()).await.expect("a server ends");
    asked.elapsed()
}

/// A registry that runs.
enum Running {
    Memory(gosd_server::Server),
    Of(Box<dyn Backend>),
}

impl Running {
    async fn start(registry: Registry, folder: &Path) -> Self {
        match registry {
            Registry::Memory => {
                let settings = gosd_server::Settings::new();
                let settings = settings.namespace("gosd", Arc::new(Memory::new()));
                let settings = settings.expect("the namespace is good");
                let server = gosd_server::serve("127.0.0.1:0", settings).await;
                Self::Memory(server.expect("a port is free"))
            }
            Registry::Of(kind) => Self::Of(kind.start(folder, &Recorder::new()).await),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Memory(server) => format!("http://{}", server.address()),
            Self::Of(backend) => backend.url(),
        }
    }
}
