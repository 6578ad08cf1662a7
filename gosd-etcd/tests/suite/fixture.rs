//! The fixtures of the conformance kit: etcd in each of its settings.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, async_trait};
use gosd_testkit::{Fixture, NotOffered};
use gosd_testservers::{Certificates, EtcdServer, Mode, Proxy};
use tokio::sync::Mutex;

/// One server behind a proxy.
pub(crate) struct Server {
    etcd: Mutex<EtcdServer>,
    /// The port of the server itself.
    port: u16,
    proxy: Proxy,
    /// The parts of the URL before the host and after the namespace.
    url: (&'static str, String),
    has_users: bool,
    /// Kept for the drivers.
    _certificates: Option<Certificates>,
}

impl Server {
    pub(crate) async fn plain() -> Self {
        Self::new(EtcdServer::start(&[]).await, "etcd://", String::new()).await
    }

    pub(crate) async fn with_auth() -> Self {
        let mut etcd = EtcdServer::start(&[]).await;
        etcd.enable_auth("/").await;
        let fixture = Self::new(etcd, "etcd://gosd:p%40ss@", String::new()).await;
        Self { has_users: true, ..fixture }
    }

    pub(crate) async fn with_client_certificates() -> Self {
        let certificates = Certificates::new();
        let etcd = EtcdServer::start_tls(&certificates, true).await;
        let [ca, cert, key] =
            ["ca.pem", "client.pem", "client.key"].map(|name| certificates.text(name));
        let query = format!("&ca={ca}&cert={cert}&key={key}");
        Self { _certificates: Some(certificates), ..Self::new(etcd, "etcds://", query).await }
    }

    async fn new(etcd: EtcdServer, scheme: &'static str, query: String) -> Self {
        let port = etcd.port();
        let proxy = Proxy::to(port).await;
        Self {
            etcd: Mutex::new(etcd),
            port,
            proxy,
            url: (scheme, query),
            has_users: false,
            _certificates: None,
        }
    }

    async fn open(&self, port: u16, namespace: &str) -> Arc<dyn Driver> {
        let (scheme, query) = &self.url;
        let url = format!("{scheme}127.0.0.1:{port}?namespace={namespace}{query}");
        gosd_etcd::open(&url).await.expect("the URL is good")
    }
}

#[async_trait]
impl Fixture for Server {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        self.open(self.proxy.port(), namespace).await
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        Ok(self.open(self.port, namespace).await)
    }

    /// What etcd grants by default: one and a half election timeouts, in whole seconds.
    fn least_lease(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.proxy.set(Mode::Refuse);
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.proxy.set(Mode::Pass);
        Ok(())
    }

    /// Removes all data from the server, except for the users if there are any.
    async fn wipe(&self, _: &str) -> Result<(), NotOffered> {
        let mut etcd = self.etcd.lock().await;
        if self.has_users {
            etcd.ctl(&["del", "--prefix", "/"]).await;
        } else {
            etcd.restart_empty().await;
        }
        Ok(())
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        let etcd = self.etcd.lock().await;
        for (key, value) in [("damaged-1", "{damaged"), ("", "{}"), ("other-1", r#"{"id":"x"}"#)] {
            etcd.ctl(&["put", &format!("/{namespace}/instances/{key}"), value]).await;
        }
        Ok(())
    }
}
