//! Servers for the conformance kit.

use std::sync::Arc;

use gosd_core::{Driver, async_trait};
use gosd_testkit::{Fixture, NotOffered};
use gosd_testservers::{Certificates, Mode, PgBouncer, PostgresServer, Proxy};

use super::support::{GRANTS, open};

/// SQL that makes a server refuse writes, and accept them again.
struct Refusal(&'static [&'static str], &'static [&'static str]);

impl Refusal {
    /// Existing connections are affected as well.
    const READ_ONLY: Self = Self(
        &["ALTER SYSTEM SET default_transaction_read_only = on"],
        &["ALTER SYSTEM SET default_transaction_read_only = off"],
    );
    const NO_RIGHTS: Self = Self(
        &["REVOKE INSERT ON gosd.instances FROM shop"],
        &["GRANT INSERT ON gosd.instances TO shop"],
    );
}

/// How the data of a registry is lost.
#[derive(Clone, Copy)]
enum Loss {
    Dropped,
    Emptied,
}

/// One server behind a proxy.
pub(crate) struct Server {
    server: PostgresServer,
    proxy: Proxy,
    /// The parts of the URL before the host and at its end.
    url: (&'static str, String),
    refusal: Refusal,
    loss: Loss,
    /// Kept for the drivers.
    _certificates: Option<Certificates>,
    _pooler: Option<PgBouncer>,
}

impl Server {
    /// The superuser, who creates the schema.
    pub(crate) async fn plain() -> Self {
        let url = ("postgres://postgres:p%40ss@", "/postgres?");
        Self::new(PostgresServer::start(&[]).await, url).await
    }

    /// A user who was given an empty schema.
    pub(crate) async fn with_schema() -> Self {
        let server = PostgresServer::start(&[]).await;
        server.sql("CREATE ROLE shop LOGIN PASSWORD 'sesame'").await;
        let url = ("postgresql://shop:sesame@", "/postgres?target_session_attrs=read-write&");
        server.sql("CREATE SCHEMA gosd AUTHORIZATION shop").await;
        Self { loss: Loss::Emptied, ..Self::new(server, url).await }
    }

    /// A user with only the rights that the crate's page names.
    pub(crate) async fn with_rights() -> Self {
        let server = PostgresServer::start(&[]).await;
        open(&server.url()).await.list().await.expect("the superuser makes the schema");
        server.sql("CREATE ROLE shop LOGIN PASSWORD 'sesame'").await;
        server.sql(GRANTS).await;
        let fixture = Self::new(server, ("postgres://shop:sesame@", "/postgres?")).await;
        Self { refusal: Refusal::NO_RIGHTS, loss: Loss::Emptied, ..fixture }
    }

    pub(crate) async fn with_client_certificates() -> Self {
        let certificates = Certificates::new();
        let server = PostgresServer::start_tls(&certificates, true).await;
        let [ca, cert, key] =
            ["ca.pem", "client.pem", "client.key"].map(|name| certificates.text(name));
        let fixture = Self::new(server, ("postgres://postgres:p%40ss@", "/postgres?")).await;
        let query = format!("/postgres?ca={ca}&cert={cert}&key={key}&");
        Self { url: (fixture.url.0, query), _certificates: Some(certificates), ..fixture }
    }

    /// A pooler in transaction mode, with fewer connections than its clients have.
    pub(crate) async fn behind_pooler() -> Self {
        let server = PostgresServer::start(&[]).await;
        let pooler = PgBouncer::start(&server, 3).await;
        let proxy = Proxy::to(pooler.port()).await;
        let fixture = Self::new(server, ("postgres://postgres:p%40ss@", "/postgres?")).await;
        Self { proxy, _pooler: Some(pooler), ..fixture }
    }

    async fn new(server: PostgresServer, (user, path): (&'static str, &str)) -> Self {
        let proxy = Proxy::to(server.port()).await;
        Self {
            server,
            proxy,
            url: (user, path.to_owned()),
            refusal: Refusal::READ_ONLY,
            loss: Loss::Dropped,
            _certificates: None,
            _pooler: None,
        }
    }

    async fn open(&self, port: u16, namespace: &str) -> Arc<dyn Driver> {
        let (user, path) = &self.url;
        open(&format!("{user}127.0.0.1:{port}{path}namespace={namespace}")).await
    }

    async fn say(&self, words: &[&str]) {
        for sql in words {
            self.server.sql(sql).await;
            if let Some(setting) = sql.strip_prefix("ALTER SYSTEM SET ") {
                self.server.sql("SELECT pg_reload_conf()").await;
                let (name, value) = setting.split_once(" = ").expect("a name and a value");
                // A connection made after the reload has the setting, and older ones were notified before.
                while self.server.sql(&format!("SHOW {name}")).await != value {}
            }
        }
    }
}

#[async_trait]
impl Fixture for Server {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        self.open(self.proxy.port(), namespace).await
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        Ok(self.open(self.server.port(), namespace).await)
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.proxy.set(Mode::Refuse);
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.proxy.set(Mode::Pass);
        Ok(())
    }

    async fn wipe(&self, _: &str) -> Result<(), NotOffered> {
        match self.loss {
            Loss::Dropped => self.say(&["DROP SCHEMA gosd CASCADE"]).await,
            Loss::Emptied => self.say(&["TRUNCATE gosd.instances"]).await,
        }
        Ok(())
    }

    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        self.say(self.refusal.0).await;
        Ok(())
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        self.say(self.refusal.1).await;
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        for metadata in ["[1]", "{\"a\": 1}", "7"] {
            let row = format!("('{namespace}', '{metadata}', 'mail', 'http://h', '{metadata}'");
            self.server
                .sql(&format!(
                    "INSERT INTO gosd.instances (namespace, id, service, url, metadata, expires_at)
                     VALUES {row}, now() + interval '1 hour')"
                ))
                .await;
        }
        Ok(())
    }
}
