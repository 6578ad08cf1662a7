//! The fixtures of the conformance kit: the registry server over several databases.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use gosd_core::{Driver, Instance, Memory, async_trait};
use gosd_server::{Limits, Server, Settings};
use gosd_testkit::{Faulty, Fixture, NotOffered};
use gosd_testservers::{Certificates, Mode, Proxy, RedisServer};
use tempfile::TempDir;

use super::support::{open, start};

const TOKEN: &str = "sesame-sesame-sesame";

/// One server or several, a proxy in front of each, and a database behind them.
pub(crate) struct Served {
    backend: Backend,
    servers: Vec<Server>,
    proxies: Vec<Proxy>,
    /// One more server in the URL, which accepts connections and never answers.
    dead: Option<Proxy>,
    /// How the proxies are cut, which are in front of the servers or behind them.
    cut: Mode,
    /// The parts of the URL before the host and after the namespace.
    url: (String, String),
    /// Kept for the server and the drivers.
    _certificates: Option<Certificates>,
}

enum Backend {
    Memory(Arc<Mutex<HashMap<String, Memory>>>),
    Sqlite(TempDir),
    Redis(Box<RedisServer>, Option<Proxy>),
}

impl Served {
    pub(crate) async fn over_memory() -> Self {
        let registries = Arc::<Mutex<HashMap<_, Memory>>>::default();
        let make = registry(&registries);
        let settings = Settings::new().namespaces(move |name| Some(Arc::new(make(name))));
        Self::new(Backend::Memory(registries), settings, "http://").await
    }

    /// Two servers that answer, and one that never does.
    pub(crate) async fn over_memory_by_three_servers() -> Self {
        let registries = Arc::<Mutex<HashMap<_, Memory>>>::default();
        let settings = || {
            let make = registry(&registries);
            Settings::new().namespaces(move |name| Some(Arc::new(make(name))))
        };
        let backend = Backend::Memory(Arc::clone(&registries));
        let mut served = Self::new(backend, settings(), "http://").await;
        served.add(settings()).await;
        let dead = Proxy::to(served.servers[0].address().port()).await;
        dead.set(Mode::Silent);
        Self { dead: Some(dead), ..served }
    }

    /// A server that has to poll its database.
    pub(crate) async fn over_a_driver_without_watch() -> Self {
        let registries = Arc::<Mutex<HashMap<_, Memory>>>::default();
        let make = registry(&registries);
        let settings = Settings::new().namespaces(move |name| {
            Some(Arc::new(Faulty::new(Arc::new(make(name))).without_watch()))
        });
        Self::new(Backend::Memory(registries), settings, "http://").await
    }

    /// A server with TLS, client certificates, a prefix and a token.
    pub(crate) async fn over_memory_by_tls() -> Self {
        let certificates = Certificates::new();
        let registries = Arc::<Mutex<HashMap<_, Memory>>>::default();
        let make = registry(&registries);
        let settings = Settings::new()
            .namespaces(move |name| Some(Arc::new(make(name))))
            .tls(certificates.path("server.pem"), certificates.path("server.key"))
            .token(TOKEN)
            .expect("a good token");
        let scheme = format!("https://:{TOKEN}@");
        let mut fixture = Self::new(Backend::Memory(registries), settings, &scheme).await;
        fixture.url.1 = format!("&ca={}", certificates.text("ca.pem"));
        Self { _certificates: Some(certificates), ..fixture }
    }

    pub(crate) async fn over_sqlite() -> Self {
        let folder = TempDir::new().expect("a folder for the test");
        let url = format!("sqlite:{}", file(&folder).display());
        let settings = Settings::new().namespaces(move |name| Some(sqlite(&url, name)));
        Self::new(Backend::Sqlite(folder), settings, "http://").await
    }

    pub(crate) async fn over_redis() -> Self {
        let redis = RedisServer::start(&[]).await;
        let url = redis.url();
        let settings = Settings::new().namespaces(move |name| Some(redis_driver(&url, name)));
        Self::new(Backend::Redis(redis.into(), None), settings, "http://").await
    }

    /// A server whose connection to its Redis can be cut.
    pub(crate) async fn over_redis_that_can_be_cut_off() -> Self {
        let redis = RedisServer::start(&[]).await;
        let proxy = Proxy::to(redis.port()).await;
        let url = format!("redis://127.0.0.1:{}", proxy.port());
        let settings = Settings::new().namespaces(move |name| Some(redis_driver(&url, name)));
        Self::new(Backend::Redis(redis.into(), Some(proxy)), settings, "http://").await
    }

    /// Makes the connection fall silent instead of breaking.
    pub(crate) fn silent(self) -> Self {
        Self { cut: Mode::Silent, ..self }
    }

    async fn new(backend: Backend, settings: Settings, scheme: &str) -> Self {
        let mut served = Self {
            backend,
            servers: Vec::new(),
            proxies: Vec::new(),
            dead: None,
            cut: Mode::Refuse,
            url: (scheme.to_owned(), String::new()),
            _certificates: None,
        };
        served.add(settings).await;
        served
    }

    async fn add(&mut self, settings: Settings) {
        let mut limits = Limits::default();
        limits.requests_per_second = 100_000;
        limits.burst = 100_000;
        let server = start(settings.limits(limits)).await;
        self.proxies.push(Proxy::to(server.address().port()).await);
        self.servers.push(server);
    }

    fn refuse(&self, refuse: bool) -> Result<(), NotOffered> {
        let Backend::Memory(registries) = &self.backend else { return Err(NotOffered) };
        let registries = registries.lock().unwrap_or_else(PoisonError::into_inner);
        registries.values().for_each(|registry| registry.refuse_writes(refuse));
        Ok(())
    }

    fn set(&self, mode: Mode) {
        match &self.backend {
            Backend::Redis(_, Some(proxy)) => proxy.set(mode),
            _ => self.proxies.iter().for_each(|proxy| proxy.set(mode)),
        }
    }

    async fn driver_at(
        &self,
        ports: impl Iterator<Item = u16>,
        namespace: &str,
    ) -> Arc<dyn Driver> {
        let (scheme, query) = &self.url;
        let hosts: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        open(&format!("{scheme}{}?namespace={namespace}{query}", hosts.join(","))).await
    }
}

#[async_trait]
impl Fixture for Served {
    async fn driver(&self, namespace: &str) -> Arc<dyn Driver> {
        self.driver_at(self.proxies.iter().chain(&self.dead).map(Proxy::port), namespace).await
    }

    async fn unaffected(&self, namespace: &str) -> Result<Arc<dyn Driver>, NotOffered> {
        match &self.backend {
            Backend::Redis(redis, Some(_)) => Ok(redis_driver(&redis.url(), namespace)),
            _ => {
                let ports = self.servers.iter().map(|server| server.address().port());
                Ok(self.driver_at(ports, namespace).await)
            }
        }
    }

    async fn interrupt(&self) -> Result<(), NotOffered> {
        self.set(self.cut);
        Ok(())
    }

    async fn restore(&self) -> Result<(), NotOffered> {
        self.set(if self.cut == Mode::Silent { Mode::Heal } else { Mode::Pass });
        Ok(())
    }

    async fn wipe(&self, namespace: &str) -> Result<(), NotOffered> {
        match &self.backend {
            Backend::Memory(registries) => registry(registries)(namespace).wipe(),
            Backend::Sqlite(folder) => {
                for file in std::fs::read_dir(folder.path()).expect("the folder") {
                    // This fails if a client has removed the file first.
                    let _ = std::fs::remove_file(file.expect("a file").path());
                }
            }
            Backend::Redis(redis, _) => {
                let mut redis = redis.connect(None).await;
                redis::cmd("FLUSHALL").exec_async(&mut redis).await.expect("Redis");
            }
        }
        Ok(())
    }

    async fn refuse_writes(&self) -> Result<(), NotOffered> {
        self.refuse(true)
    }

    async fn accept_writes(&self) -> Result<(), NotOffered> {
        self.refuse(false)
    }

    async fn write_unreadable(&self, namespace: &str) -> Result<(), NotOffered> {
        match &self.backend {
            Backend::Memory(_) => return Err(NotOffered),
            Backend::Sqlite(folder) => {
                // The first call makes the tables.
                self.driver(namespace).await.list().await.expect("an empty list");
                let db = rusqlite::Connection::open(file(folder)).expect("the database");
                let sql =
                    "INSERT INTO instances (namespace, id, service, url, metadata, expires_at)
                           VALUES (?1, 'mail-1', 'mail', 'http://h', '{not json', 9e12)";
                db.execute(sql, [namespace]).expect("a row");
            }
            Backend::Redis(redis, _) => {
                let id = Instance::new("damaged", "http://h").expect("good").id().to_string();
                redis::pipe()
                    .hset(namespace, &id, "http://h")
                    .hset(format!("{{{namespace}}}:meta"), &id, "{damaged")
                    .hset(namespace, b"\xff-1", "http://h")
                    .exec_async(&mut redis.connect(None).await)
                    .await
                    .expect("Redis");
            }
        }
        Ok(())
    }
}

fn registry(
    registries: &Arc<Mutex<HashMap<String, Memory>>>,
) -> impl Fn(&str) -> Memory + Send + Sync + use<> {
    let registries = Arc::clone(registries);
    move |namespace| {
        let mut registries = registries.lock().unwrap_or_else(PoisonError::into_inner);
        registries.entry(namespace.to_owned()).or_default().clone()
    }
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("gosd.db")
}

fn sqlite(url: &str, namespace: &str) -> Arc<dyn Driver> {
    let url = format!("{url}?namespace={namespace}");
    // An opener does no I/O.
    gosd_sqlite::open(&url).now_or_never().expect("at once").expect("a good URL")
}

fn redis_driver(url: &str, namespace: &str) -> Arc<dyn Driver> {
    let url = format!("{url}?namespace={namespace}");
    gosd_redis::open(&url).now_or_never().expect("at once").expect("a good URL")
}
