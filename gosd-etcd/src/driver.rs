//! The driver: each of its methods as calls on a connection to the cluster.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, GetOptions, KeyValue};
use gosd_core::{BoxStream, Driver, Error, Event, Instance, InstanceId, Result, async_trait};
use gosd_net::{Lazy, WarnOnce};

use crate::connection::{self, Cluster};
use crate::error;
use crate::layout::{self, Keys};
use crate::lease::{self, Leases};
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

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for Etcd {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let (id, key, json) = (instance.id(), &self.keys.key(instance.id()), &instance.to_json());
        let lease = &self.leases().choose(id, ttl);
        // The record may hang on one of these until it is written anew, which may be refused for want of space.
        for before in &lease.before {
            self.call(async |mut client| lease::keep_alive(&mut client, *before).await).await?;
        }
        let is_alive = !lease.is_new
            && self.call(async |mut client| lease::keep_alive(&mut client, lease.id).await).await?;
        if is_alive {
            let is_there = async |client: Client| lease::is_intact(&client, key, json, lease).await;
            if self.call(is_there).await? {
                return Ok(());
            }
        } else {
            // From here on a goodbye ends the lease, even if it is granted only later.
            self.leases().asked_for(id);
            self.call(async |mut client| lease::grant(&mut client, lease).await).await?;
        }
        let lost = AtomicBool::new(false);
        let write = async |mut client: Client| {
            self.leases().sent(id);
            let written = lease::write(&mut client, key, json, lease).await;
            lost.fetch_or(
                written.as_ref().is_err_and(|error| !error::is_refusal(error)),
                Ordering::Relaxed,
            );
            written
        };
        let written = self.call(write).await;
        if !lost.into_inner() {
            self.leases().answered(id);
        }
        written?;
        self.leases().written(id);
        Ok(())
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let key = &self.keys.key(id);
        let known = self.leases().known(id);
        self.leases().sent(id);
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
