use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use etcd_client::{Client, GetOptions, KeyValue};
use gosd_core::{BoxStream, Driver, Error, Event, Instance, InstanceId, Result, async_trait};
use tokio::sync::OnceCell;
use tracing::{debug, warn};

use crate::layout::{self, Keys};
use crate::lease::{self, Lease};
use crate::options::Options;
use crate::{connection, error, watch};

/// The etcd driver. Everything but a watch shares one connection, made when it is first needed.
pub(crate) struct Etcd {
    pub(crate) options: Options,
    pub(crate) keys: Keys,
    connection: Mutex<Arc<OnceCell<Client>>>,
    /// The leases of what was registered here and not deregistered.
    leases: Mutex<HashMap<InstanceId, Lease>>,
    unreadable: Once,
}

impl Etcd {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            keys: Keys::new(&options.namespace),
            options,
            connection: Mutex::default(),
            leases: Mutex::default(),
            unreadable: Once::new(),
        }
    }

    /// Reads the instances among the keys, and says once if there are others.
    pub(crate) fn decode(&self, records: &[KeyValue]) -> Vec<Instance> {
        let mut instances = Vec::with_capacity(records.len());
        for record in records {
            let id = self.keys.id(record.key());
            match id.and_then(|id| layout::read(&id, record.value())) {
                Ok(instance) => instances.extend(instance),
                Err(problem) => self.skip_unreadable(&problem),
            }
        }
        instances
    }

    /// Says once that something in the registry cannot be read.
    pub(crate) fn skip_unreadable(&self, problem: &Error) {
        let namespace = &self.options.namespace;
        debug!(namespace, %problem, "skipped");
        self.unreadable.call_once(|| {
            warn!(namespace, "what cannot be read in the registry is skipped, such as: {problem}");
        });
    }

    /// Makes a call on the shared connection; once more on a new one if that one has broken, or
    /// its token has run out.
    async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut is_last = false;
        loop {
            let cell = self.slot().clone();
            is_last |= !cell.initialized();
            let client = cell.get_or_try_init(|| connection::open(&self.options)).await?;
            let mut lent = Lent { driver: self, cell: &cell, keep: false };
            let result = call(client.clone()).await;
            let result = result.map_err(|error| error::from_etcd(&error, &self.options));
            lent.keep = !result.as_ref().is_err_and(Error::is_retryable);
            if lent.keep || is_last {
                return result;
            }
            is_last = true;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Arc<OnceCell<Client>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<InstanceId, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shared connection, in use by a call. One that fails, or is dropped before it is done, may
/// have done so because the connection is dead: then it is given up, and the next call makes a new
/// one.
struct Lent<'a> {
    driver: &'a Etcd,
    cell: &'a Arc<OnceCell<Client>>,
    keep: bool,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut slot = self.driver.slot();
        if !self.keep && Arc::ptr_eq(&slot, self.cell) {
            *slot = Arc::default();
        }
    }
}

#[async_trait]
impl Driver for Etcd {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let (key, json) = (&self.keys.key(instance.id()), &instance.to_json());
        let known = self.leases().get(instance.id()).copied();
        if let Some(lease) = known {
            let renew =
                async |mut client: Client| lease::renew(&mut client, key, json, lease, ttl).await;
            if self.call(renew).await? {
                return Ok(());
            }
        }
        let lease = self.call(async |mut client| lease::grant(&mut client, ttl).await).await?;
        // Known from here on, so that a goodbye ends it even if the record arrives late.
        self.leases().insert(instance.id().clone(), lease);
        let write =
            async |mut client: Client| lease::write(&mut client, key, json, lease, known).await;
        self.call(write).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let key = &self.keys.key(id);
        let known = self.leases().get(id).copied();
        self.call(async |mut client| lease::remove(&mut client, key, known).await).await?;
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
        f.debug_struct("Etcd")
            .field("hosts", &self.options.hosts)
            .field("namespace", &self.options.namespace)
            .finish_non_exhaustive()
    }
}
