//! The driver: each of its methods as calls on a connection to the cluster.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, GetOptions, KeyValue};
use gosd_core::{BoxStream, Driver, Error, Event, Instance, InstanceId, Result, async_trait};
use gosd_net::{Lazy, WarnOnce};
use tracing::debug;

use crate::connection::{self, Cluster};
use crate::error;
use crate::layout::{self, Keys};
use crate::lease;
use crate::leases::Leases;
use crate::options::Options;
use crate::watch;

/// The etcd driver. Everything but a watch shares one connection, made when it is first needed.
pub(crate) struct Etcd {
    pub(crate) cluster: Cluster,
    pub(crate) keys: Keys,
    connection: Lazy<Client>,
    leases: Mutex<Leases>,
    unreadable: WarnOnce,
}

impl Etcd {
    pub(crate) fn new(options: Options) -> Result<Self> {
        Ok(Self {
            keys: Keys::new(&options.namespace),
            cluster: Cluster::new(options)?,
            connection: Lazy::new(),
            leases: Mutex::default(),
            unreadable: WarnOnce::new(),
        })
    }

    /// Parses the instances among the keys, and warns once if there are other keys.
    pub(crate) fn decode(&self, records: &[KeyValue]) -> Vec<Instance> {
        let mut instances = Vec::with_capacity(records.len());
        for record in records {
            let id = self.keys.id(record.key());
            match id.and_then(|id| layout::read(id, record.value())) {
                Ok(instance) => instances.extend(instance),
                Err(problem) => self.skip_unreadable(&problem),
            }
        }
        instances
    }

    /// Reports that a record cannot be read, as a warning only once.
    pub(crate) fn skip_unreadable(&self, problem: &Error) {
        self.unreadable.skipped(self.name(), &self.cluster.options.namespace, problem);
    }

    /// Makes a call on the shared connection, and repeats it on a new one if that one has broken.
    async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let open = || {
            let cluster = self.cluster.clone();
            async move { cluster.open().await }
        };
        let call = &call;
        let authorized =
            |client: Client| async move { self.cluster.authorized(&client, call).await };
        self.connection.call_with_retry(open, authorized).await
    }

    /// Ends the leases that a record had before, each of which is tried once.
    ///
    /// This is not repeated with the next heartbeat, so that none fails for the sake of old leases. Those that are
    /// left, because the caller stops waiting or the server cannot be reached, run out by themselves, unless
    /// another write or the goodbye ends them before.
    async fn end(&self, id: &InstanceId, key: &str, leases: &[i64]) {
        for old in leases {
            let end = async |mut client: Client| {
                lease::revoke_unless_shared(&mut client, key, *old).await
            };
            match self.call(end).await {
                Err(error) if error.is_retryable() => {
                    debug!(key, %error, "an earlier lease of the record was not revoked");
                    return;
                }
                _ => self.leases().ended(id, *old),
            }
        }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for Etcd {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let (id, key, json) = (instance.id(), &self.keys.key(instance.id()), &instance.to_json());
        let lease = &self.leases().choose(id, ttl, json);
        // The record may hang on one of these until it is written anew, which may be refused for want of space.
        for before in lease.may_hold() {
            self.call(async |mut client| lease::keep_alive(&mut client, *before).await).await?;
        }
        let is_alive = !lease.is_new
            && self.call(async |mut client| lease::keep_alive(&mut client, lease.id).await).await?;
        if is_alive {
            let is_there = async |client: Client| lease::is_intact(&client, key, json, lease).await;
            if self.call(is_there).await? {
                self.leases().attached(id, lease.id);
                self.end(id, key, lease.may_hold()).await;
                return Ok(());
            }
        } else {
            // From here on a goodbye ends the lease, even if it is granted only later.
            self.leases().asked_for(id, lease.id);
            self.call(async |mut client| lease::grant(&mut client, lease).await).await?;
        }
        let write = async |mut client: Client| {
            self.leases().sent(id, lease.id, json);
            let written = lease::write(&mut client, key, json, lease).await;
            if written.as_ref().err().is_none_or(error::is_refusal) {
                self.leases().answered(id, lease.id);
            }
            written
        };
        let overwritten = self.call(write).await?;
        self.leases().attached(id, lease.id);
        self.end(id, key, &lease.to_end(overwritten)).await;
        Ok(())
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let key = &self.keys.key(id);
        let known = self.leases().known(id);
        self.leases().leaves(id);
        let remove = async |mut client: Client| lease::remove(&mut client, key, &known).await;
        self.call(remove).await?;
        self.leases().remove(id);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        let range = GetOptions::new().with_prefix();
        let read = |client| {
            let range = Some(range.clone());
            async move { connection::kv(&client).get(self.keys.prefix(), range).await }
        };
        Ok(self.decode(self.call(read).await?.kvs()))
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(watch::follow(self))
    }

    fn name(&self) -> &str {
        "etcd"
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.cluster.options;
        f.debug_struct("Etcd")
            .field("hosts", &options.hosts)
            .field("namespace", &options.namespace)
            .finish_non_exhaustive()
    }
}
