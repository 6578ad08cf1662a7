//! The databases that trials are made on.

mod redis;
mod sentinel;
mod server;
mod sqlite;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use gosd_core::{Driver, async_trait};

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
    Sentinel,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Redis, Self::Sentinel];

    /// Its name in commands and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Sentinel => "redis+sentinel",
        }
    }

    /// The faults that it can have.
    pub fn faults(self) -> Vec<Fault> {
        match self {
            Self::Sqlite => Fault::FILE.into(),
            Self::Redis => [&Fault::SERVER[..], &Fault::NETWORK].concat(),
            Self::Sentinel => vec![Fault::Failover],
        }
    }

    /// Whether its clients learn of changes only by reading.
    pub fn polls(self) -> bool {
        false
    }

    /// Starts one, with its files in a folder.
    pub async fn start(self, folder: &Path, recorder: &Recorder) -> Box<dyn Backend> {
        match self {
            Self::Sqlite => Box::new(sqlite::Sqlite::new(folder)),
            Self::Redis => Box::new(redis::Redis::start(folder, recorder).await),
            Self::Sentinel => Box::new(sentinel::Sentinel::start().await),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == text);
        kind.ok_or_else(|| format!("no backend is called {text:?}"))
    }
}

/// Makes a driver of a URL of any of the backends.
pub async fn open(url: &str) -> Arc<dyn Driver> {
    let driver = match url.split(':').next() {
        Some("sqlite") => gosd_sqlite::open(url).await,
        _ => gosd_redis::open(url).await,
    };
    driver.expect("the URL is good")
}
