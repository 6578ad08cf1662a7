//! PostgreSQL as a backend of trials.

use std::path::PathBuf;
use std::sync::Arc;

use gosd_core::async_trait;
use gosd_testservers::{PostgresServer, Process, WallClock};
use tokio::task::JoinHandle;

use super::server::Server;
use crate::fault::Fault;

/// The user of the clients, who owns the schema and so makes its tables.
const USER: &str = "
    CREATE ROLE shop LOGIN PASSWORD 'sesame';
    CREATE SCHEMA gosd AUTHORIZATION shop";

/// A server whose clock can be set.
pub(super) struct Postgres {
    server: Arc<PostgresServer>,
    clock: WallClock,
    /// The session that holds the lock of a [`Fault::Lock`].
    lock: Option<JoinHandle<Result<String, String>>>,
}

impl Postgres {
    pub(super) async fn start() -> Self {
        let clock = WallClock::ahead_by(0).await;
        let server = PostgresServer::start_with_clock(&clock).await;
        server.sql(USER).await;
        Self { server: Arc::new(server), clock, lock: None }
    }

    pub(super) fn url(port: u16) -> String {
        format!("postgres://shop:sesame@127.0.0.1:{port}/postgres")
    }

    fn server(&mut self) -> &mut PostgresServer {
        Arc::get_mut(&mut self.server).expect("nobody holds a lock")
    }

    async fn read_only(&self, value: &str) {
        self.server.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await;
        self.server.sql("SELECT pg_reload_conf()").await;
    }

    /// Has another session hold a lock that no write gets past.
    async fn lock(&mut self) {
        let server = Arc::clone(&self.server);
        self.lock = Some(tokio::spawn(async move {
            server.try_sql("BEGIN; LOCK TABLE gosd.instances; SELECT pg_sleep(3600)").await
        }));
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while self.server.sql(sleeping).await != "1" {}
    }

    async fn unlock(&mut self) {
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        self.server.sql(end).await;
        let session = self.lock.take().expect("there is a lock");
        session.await.expect("the task does not panic").expect_err("the session was ended");
    }
}

#[async_trait]
impl Server for Postgres {
    fn port(&self) -> u16 {
        self.server.port()
    }

    fn process(&mut self) -> &mut Process {
        self.server().process()
    }

    fn data(&self) -> PathBuf {
        self.server.data()
    }

    async fn signal(&mut self, signal: &str) {
        self.server.signal_all(signal).await;
    }

    async fn restart(&mut self) {
        self.server().restart().await;
        // A cluster that was wiped knows nobody.
        if self.server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'shop'").await == "0" {
            self.server.sql(USER).await;
        }
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Lock => self.lock().await,
            Fault::Fill => self.server.fill_disk(),
            Fault::ReadOnly => self.read_only("on").await,
            Fault::Deny => {
                self.server.sql("REVOKE INSERT, UPDATE ON gosd.instances FROM shop").await;
            }
            _ => self.clock.set(3_600),
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Lock => self.unlock().await,
            Fault::Fill => {
                self.server.clear_disk();
                // A server that has no room for its log ends.
                self.server().revive().await;
            }
            Fault::ReadOnly => self.read_only("off").await,
            Fault::Deny => {
                self.server.sql("GRANT INSERT, UPDATE ON gosd.instances TO shop").await;
            }
            _ => self.clock.set(0),
        }
    }
}
