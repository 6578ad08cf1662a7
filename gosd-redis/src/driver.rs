//! The driver, whose methods share one connection.

use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use gosd_core::{BoxStream, Driver, Event, Instance, InstanceId, Result, async_trait};
use gosd_net::{Fault, Lazy, WarnOnce};
use redis::RedisResult;
use tracing::{info, warn};

use crate::connection::Connection;
use crate::evidence::Evidence;
use crate::layout::Keys;
use crate::options::Options;
use crate::order::Order;
use crate::scripts::Scripts;
use crate::{error, snapshot, watch};

/// The Redis driver. Everything but a watch shares one connection, made when it is first needed.
pub(crate) struct Redis {
    pub(crate) options: Arc<Options>,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) evidence: Evidence,
    order: Order,
    connection: Lazy<Arc<Connection>>,
    eviction: Once,
    unreadable: WarnOnce,
}

impl Redis {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            keys: Keys::new(&options.namespace),
            options: Arc::new(options),
            scripts: Scripts::new(),
            connection: Lazy::new(),
            evidence: Evidence::new(),
            order: Order::new(),
            eviction: Once::new(),
            unreadable: WarnOnce::new(),
        }
    }

    /// Warns once about records of the registry that cannot be read.
    pub(crate) fn skip_unreadable(&self, problem: &dyn fmt::Display) {
        self.unreadable.skipped("redis", &self.options.namespace, problem);
    }

    /// Makes a call on the shared connection, and repeats it on a new one if that connection was closed.
    async fn call<T, F>(&self, call: impl Fn(Arc<Connection>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let open = || {
            let options = Arc::clone(&self.options);
            async move { Connection::open(&options).await.map(Arc::new) }
        };
        let call = async |connection: Arc<Connection>| {
            self.warn_of_eviction(&connection).await;
            call(connection).await
        };
        self.connection.call_with_retry(open, call).await
    }

    /// A call that the server refuses or does not answer is not repeated.
    async fn warn_of_eviction(&self, connection: &Connection) {
        if self.eviction.is_completed() {
            return;
        }
        let mut redis = connection.redis.clone();
        let info: RedisResult<String> =
            redis::cmd("INFO").arg("memory").query_async(&mut redis).await;
        self.eviction.call_once(|| {
            if let Err(error) = &info {
                let error = error::from_redis(error);
                info!("cannot tell if Redis may evict the registry, for want of INFO: {error}");
            }
            let policy = info.iter().flat_map(|text| text.lines());
            let policy = policy.filter_map(|line| line.strip_prefix("maxmemory_policy:"));
            for policy in policy.filter(|policy| policy.starts_with("allkeys")) {
                warn!(policy, "Redis may evict the registry; set maxmemory-policy to noeviction");
            }
        });
    }
}

#[async_trait]
impl Driver for Redis {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.evidence.asked_for(ttl);
        let number = self.order.number();
        self.call(async |connection| {
            let mut redis = connection.redis.clone();
            let sent = self.order.send(number);
            let result = self.scripts.register(&mut redis, &self.keys, instance, ttl, &sent).await;
            sent.ended(&result);
            self.evidence.tried_to_write(&result);
            result.map_err(|error| error::fault(&error))
        })
        .await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let number = self.order.number();
        self.call(async |connection| {
            let mut redis = connection.redis.clone();
            let sent = self.order.send(number);
            let result = self.scripts.deregister(&mut redis, &self.keys, id, &sent).await;
            sent.ended(&result);
            self.evidence.tried_to_write(&result);
            result.map_err(|error| error::fault(&error))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.call(async |connection| {
            let snapshot = snapshot::read(self, &connection).await?;
            Ok(snapshot.instances)
        })
        .await
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
