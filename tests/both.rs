//! Two databases of different kinds together keep the contract of a driver, whichever of them has a fault.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gosd::{Both, Driver, Drivers, async_trait};
use gosd_testkit::{Fixture, NotOffered};
use gosd_testservers::{Mode, Proxy, RedisServer};
use rusqlite::Connection;

/// Which of the two databases has the faults that the kit asks for.
#[derive(Clone, Copy, PartialEq)]
enum Hit {
    Sqlite,
    Redis,
    Each,
}

/// An SQLite file, which is the primary, and a Redis server behind a proxy.
struct Databases {
    folder: tempfile::TempDir,
    lock: Mutex<Option<Connection>>,
    server: RedisServer,
    proxy: Proxy,
    hit: Hit,
}

impl Databases {
    async fn start(hit: Hit) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        fs::create_dir(folder.path().join("db")).expect("a folder in it");
        let server = RedisServer::start(&[]).await;
        let proxy = Proxy::to(server.port()).await;
        Self { folder, lock: Mutex::default(), server, proxy, hit }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("db/gosd.db")
    }

    fn sqlite(&self) -> Connection {
        let connection = Connection::open(self.file()).expect("the database is there");
        connection.busy_timeout(Duration::from_secs(10)).expect("a number");
        connection
    }

    async fn at(&self, port: u16, namespace: &str) -> Arc<dyn Driver> {
        let drivers = Drivers::compiled();
        let sqlite = format!("sqlite:{}?namespace={namespace}", self.file().display());
        let redis = format!("redis://127.0.0.1:{port}?namespace={namespace}");
        let [sqlite, redis] = [drivers.open(&sqlite).await, drivers.open(&redis).await];
        Arc::new(Both::new(sqlite.expect("a good URL"), redis.expect("a good URL")))
    }

    fn rename(&self, from: &str, to: &str) {
        let folder = self.folder.path();
        fs::rename(folder.join(from), folder.join(to)).expect("a folder can be renamed");
    }

    async fn say(&self, words: &[&str]) {
        let mut connection = self.server.connect(None).await;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).exec_async(&mut connection).await.expect("Redis");
    }
}

#[async_trait]
impl Fixture for Databases {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        self.at(self.proxy.port(), namespace).await
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        match self.hit {
            Hit::Redis => Ok(self.at(self.server.port(), namespace).await),
            // While the file is away no client can reach it, so no driver is unaffected.
            Hit::Sqlite | Hit::Each => Err(NotOffered),
        }
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        if self.hit != Hit::Redis {
            self.rename("db", "away");
        }
        if self.hit != Hit::Sqlite {
            self.proxy.set(Mode::Refuse);
        }
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        if self.hit != Hit::Redis {
            self.rename("away", "db");
        }
        if self.hit != Hit::Sqlite {
            self.proxy.set(Mode::Pass);
        }
        Ok(())
    }

    /// Always wipes both, because an instance that one of them still has is not lost.
    async fn wipe(&self, _: &str) -> Result<(), NotOffered> {
        for file in fs::read_dir(self.folder.path().join("db")).expect("the folder") {
            // This fails if a client has removed the file first.
            let _ = fs::remove_file(file.expect("a file").path());
        }
        self.say(&["FLUSHALL"]).await;
        Ok(())
    }

    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        if self.hit != Hit::Redis {
            // The first call creates the file.
            self.driver("gosd").await.list().await.expect("an empty list");
            let lock = self.sqlite();
            lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
            *self.lock.lock().expect("nobody panics with it") = Some(lock);
        }
        if self.hit != Hit::Sqlite {
            self.say(&["CONFIG", "SET", "maxmemory", "1"]).await;
        }
        Ok(())
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        *self.lock.lock().expect("nobody panics with it") = None;
        self.say(&["CONFIG", "SET", "maxmemory", "0"]).await;
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        // The first call creates the tables.
        self.driver(namespace).await.list().await.expect("an empty list");
        self.sqlite()
            .execute(
                "INSERT INTO instances (namespace, id, service, url, metadata, expires_at)
                 VALUES (?1, 'mail-1', 'mail', 'http://h', '{not json', 9e12)",
                [namespace],
            )
            .expect("a row");
        self.say(&["HSET", namespace, "damaged-1", "http://h"]).await;
        self.say(&["HSET", &format!("{{{namespace}}}:meta"), "damaged-1", "{damaged"]).await;
        Ok(())
    }
}

mod sqlite_is_hit {
    gosd_testkit::conformance!(super::Databases::start(super::Hit::Sqlite).await);
}

mod redis_is_hit {
    gosd_testkit::conformance!(super::Databases::start(super::Hit::Redis).await);
}

mod each_is_hit {
    gosd_testkit::conformance!(super::Databases::start(super::Hit::Each).await);
}
