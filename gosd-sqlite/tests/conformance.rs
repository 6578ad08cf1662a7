//! The conformance kit over SQLite files.

mod support;

use std::sync::{Arc, Mutex};

use gosd_core::{Driver, async_trait};
use gosd_testkit::{Fixture, NotOffered};
use rusqlite::Connection;

use support::Place;

struct Sqlite(Place, Mutex<Option<Connection>>);

#[async_trait]
impl Fixture for Sqlite {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        self.0.driver(namespace).await
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.0.take_away();
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.0.put_back();
        Ok(())
    }

    async fn wipe(&self, _: &str) -> Result<(), NotOffered> {
        self.0.remove();
        Ok(())
    }

    /// Another program keeps the database locked; reads still work.
    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        // The first call creates the file.
        self.driver("gosd").await.list().await.expect("an empty list");
        let lock = self.0.plain();
        lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        *self.1.lock().expect("nobody panics with it") = Some(lock);
        Ok(())
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        *self.1.lock().expect("nobody panics with it") = None;
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        // The first call creates the tables.
        self.driver(namespace).await.list().await.expect("an empty list");
        self.0
            .plain()
            .execute(
                "INSERT INTO instances (namespace, id, service, url, metadata, expires_at)
                 VALUES (?1, 'mail-1', 'mail', 'http://h', '{not json', 9e12)",
                [namespace],
            )
            .expect("a row");
        Ok(())
    }
}

gosd_testkit::conformance!(Sqlite(Place::new(), Mutex::default()));
