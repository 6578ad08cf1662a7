use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use gosd_core::{BoxStream, Driver, Event, Instance, InstanceId, Result, async_trait};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;
use tracing::{debug, warn};

use crate::connection::Connection;
use crate::evidence::Evidence;
use crate::layout::Keys;
use crate::options::Options;
use crate::scripts::Scripts;
use crate::{error, snapshot, watch};

/// The Redis driver. Everything but a watch shares one connection, made when it is first needed.
pub(crate) struct Redis {
    pub(crate) options: Options,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) evidence: Evidence,
    connection: Mutex<Arc<OnceCell<Arc<Connection>>>>,
    eviction: Once,
    unreadable: Once,
}

impl Redis {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            keys: Keys::new(&options.namespace),
            options,
            scripts: Scripts::new(),
            connection: Mutex::default(),
            evidence: Evidence::new(),
            eviction: Once::new(),
            unreadable: Once::new(),
        }
    }

    /// Says once that something in the registry cannot be read.
    pub(crate) fn skip_unreadable(&self, problem: &dyn fmt::Display) {
        let namespace = &self.options.namespace;
        debug!(namespace, "skipped: {problem}");
        self.unreadable.call_once(|| {
            warn!(namespace, "what cannot be read in the registry is skipped, such as: {problem}");
        });
    }

    /// Gets the connection, connecting if there is none.
    async fn call(&self) -> Result<Call<'_>> {
        let cell = self.slot().clone();
        let connect = async || Connection::open(&self.options).await.map(Arc::new);
        let connection = Arc::clone(cell.get_or_try_init(connect).await?);
        let call = Call { driver: self, cell, connection, keep: false };
        if !self.eviction.is_completed() {
            self.warn_of_eviction(&mut call.redis()).await;
        }
        Ok(call)
    }

    fn slot(&self) -> MutexGuard<'_, Arc<OnceCell<Arc<Connection>>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server that forbids the question, or fails, is not asked again.
    async fn warn_of_eviction(&self, redis: &mut MultiplexedConnection) {
        let info: RedisResult<String> = redis::cmd("INFO").arg("memory").query_async(redis).await;
        self.eviction.call_once(|| {
            let policy = info.iter().flat_map(|text| text.lines());
            let policy = policy.filter_map(|line| line.strip_prefix("maxmemory_policy:"));
            for policy in policy.filter(|policy| policy.starts_with("allkeys")) {
                warn!(policy, "Redis may evict the registry; set maxmemory-policy to noeviction");
            }
        });
    }
}

/// A call on the shared connection. One that fails, or is dropped before it is done, may have done
/// so because the connection is dead, or leads to the wrong server: the next call makes a new one.
struct Call<'a> {
    driver: &'a Redis,
    cell: Arc<OnceCell<Arc<Connection>>>,
    connection: Arc<Connection>,
    keep: bool,
}

impl Call<'_> {
    fn redis(&self) -> MultiplexedConnection {
        self.connection.redis.clone()
    }

    fn done<T>(mut self, result: Result<T>) -> Result<T> {
        self.keep = result.as_ref().err().is_none_or(|error| !error.is_retryable());
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut slot = self.driver.slot();
        if !self.keep && Arc::ptr_eq(&slot, &self.cell) {
            *slot = Arc::default();
        }
    }
}

#[async_trait]
impl Driver for Redis {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.evidence.asked_for(ttl);
        let call = self.call().await?;
        let result = self.scripts.register(&mut call.redis(), &self.keys, instance, ttl).await;
        self.evidence.tried_to_write(&result);
        call.done(result.map_err(|error| error::from_redis(&error)))
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let call = self.call().await?;
        let result = self.scripts.deregister(&mut call.redis(), &self.keys, id).await;
        self.evidence.tried_to_write(&result);
        call.done(result.map_err(|error| error::from_redis(&error)))
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        let call = self.call().await?;
        let snapshot = snapshot::read(self, &call.connection).await;
        call.done(snapshot).map(|snapshot| snapshot.instances)
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(watch::watch(self))
    }

    fn name(&self) -> &str {
        "redis"
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("hosts", &self.options.hosts)
            .field("namespace", &self.options.namespace)
            .finish_non_exhaustive()
    }
}
