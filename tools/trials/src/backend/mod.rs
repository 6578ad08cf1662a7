//! The databases that trials are made on.

mod etcd;
mod http;
mod memcached;
mod postgres;
mod redis;
mod sentinel;
mod server;
mod sqlite;
mod tier;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use gosd_core::{Driver, async_trait};
use gosd_testservers::{EtcdServer, MemcachedServer};

pub use http::serve;
use server::Wired;

use crate::fault::Fault;
use crate::history::Recorder;

/// A database in which faults can be made.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The driver's URL for clients.
    fn url(&self) -> String;

    /// The same past the network in which faults are made.
    fn direct(&self) -> String {
        self.url()
    }

    /// Keeps a copy of the data for a [`Fault::Rewind`].
    async fn remember(&mut self);

    async fn begin(&mut self, fault: Fault);

    async fn end(&mut self, fault: Fault);
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Redis,
    /// A Redis master and its replica, under sentinels.
    Sentinel,
    Postgres,
    Etcd,
    /// Three members of etcd.
    Cluster,
    Http,
    /// The same without event streams.
    Poll,
    /// Three registry servers over one Redis.
    Tier,
    /// The example of a driver of somebody else's, which polls.
    Memcached,
}

impl Kind {
    /// All of them, with their names in commands and tables.
    pub const ALL: [(Self, &str); 10] = [
        (Self::Sqlite, "sqlite"),
        (Self::Redis, "redis"),
        (Self::Sentinel, "redis+sentinel"),
        (Self::Postgres, "postgres"),
        (Self::Etcd, "etcd"),
        (Self::Cluster, "etcd-cluster"),
        (Self::Http, "http"),
        (Self::Poll, "http-polled"),
        (Self::Tier, "tier"),
        (Self::Memcached, "memcached"),
    ];

    /// The faults that it can have.
    pub fn faults(self) -> Vec<Fault> {
        let of_backend = match self {
            Self::Sqlite => Fault::FILE.into(),
            Self::Redis => [&Fault::SERVER[..], &Fault::NETWORK, &Fault::REDIS].concat(),
            Self::Postgres => [&Fault::SERVER[..], &Fault::NETWORK, &Fault::POSTGRES].concat(),
            Self::Etcd => [&Fault::SERVER[..], &Fault::NETWORK, &[Fault::Quota]].concat(),
            Self::Http | Self::Poll => [&Fault::SERVER[..], &Fault::NETWORK].concat(),
            // What happens between clients and servers is the same as with one server.
            Self::Tier => [&Fault::SERVER[..], &Fault::BACKBONE, &Fault::TIER].concat(),
            Self::Memcached => [&Fault::FORGETFUL[..], &Fault::NETWORK].concat(),
            Self::Sentinel | Self::Cluster => vec![Fault::Failover],
        };
        [of_backend, vec![Fault::Freeze]].concat()
    }

    /// How many faults it can have one after the other: a replica takes over once.
    pub fn most_faults(self) -> usize {
        if self == Self::Sentinel { 1 } else { 3 }
    }

    /// Whether its clients learn of changes only by reading.
    pub fn polls(self) -> bool {
        matches!(self, Self::Poll | Self::Memcached)
    }

    /// Starts one, with its files in a folder.
    pub async fn start(self, folder: &Path, recorder: &Recorder) -> Box<dyn Backend> {
        match self {
            Self::Sqlite => Box::new(sqlite::Sqlite::new(folder)),
            Self::Redis => {
                let url = |port| format!("redis://127.0.0.1:{port}");
                Box::new(Wired::to(redis::Redis::start().await, url, folder, recorder).await)
            }
            Self::Sentinel => Box::new(sentinel::Sentinel::start().await),
            Self::Postgres => {
                let (server, url) = (postgres::Postgres::start().await, postgres::Postgres::url);
                Box::new(Wired::to(server, url, folder, recorder).await)
            }
            Self::Etcd => {
                let url = |port| format!("etcd://127.0.0.1:{port}");
                let server = EtcdServer::start(&["--quota-backend-bytes", "8388608"]).await;
                Box::new(Wired::to(server, url, folder, recorder).await)
            }
            Self::Memcached => {
                let url = |port| format!("memcache://127.0.0.1:{port}");
                Box::new(Wired::to(MemcachedServer::start().await, url, folder, recorder).await)
            }
            Self::Tier => Box::new(tier::Tier::start(folder, recorder).await),
            Self::Cluster => Box::new(etcd::Cluster::start().await),
            Self::Http | Self::Poll => {
                let url = if self == Self::Poll {
                    |port| format!("http://127.0.0.1:{port}?watch=off")
                } else {
                    |port| format!("http://127.0.0.1:{port}")
                };
                let server = http::HttpServer::start(folder).await;
                Box::new(Wired::to(server, url, folder, recorder).await)
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self);
        f.pad(name.map_or("backend", |(_, name)| name))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.iter().find(|(_, name)| *name == text);
        kind.map(|(kind, _)| *kind).ok_or_else(|| format!("no backend is called {text:?}"))
    }
}

/// Makes a driver of a URL of any backend.
pub async fn open(url: &str) -> Arc<dyn Driver> {
    let driver = match url.split(':').next() {
        Some("sqlite") => gosd_sqlite::open(url).await,
        Some("postgres") => gosd_postgres::open(url).await,
        Some("etcd") => gosd_etcd::open(url).await,
        Some("http") => gosd_http::open(url).await,
        Some("memcache") => gosd_memcache::open(url).await,
        _ => gosd_redis::open(url).await,
    };
    driver.expect("the URL is good")
}
