//! The driver, whose methods share one connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gosd_core::{BoxStream, Driver, Event, Instance, InstanceId, Result, async_trait};
use gosd_net::{Fault, Lazy, WarnOnce};
use tokio_postgres::Error as PgError;

use crate::connection::{Connection, GivenUp, fault};
use crate::looks::{Looks, Question};
use crate::options::Options;
use crate::statements::{self, Position, Read};
use crate::{error, watch};

/// The PostgreSQL driver. Everything but a watch shares one connection, made when it is first needed.
pub(crate) struct Postgres {
    pub(crate) options: Arc<Options>,
    pub(crate) looks: Looks,
    pub(crate) given_up: Arc<GivenUp>,
    connection: Lazy<Arc<Connection>>,
    unreadable: WarnOnce,
    /// Whether it was said that the server's notifications do not come.
    pub(crate) said_silent: AtomicBool,
}

impl Postgres {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            looks: Looks::default(),
            given_up: Arc::default(),
            connection: Lazy::new(),
            unreadable: WarnOnce::new(),
            said_silent: AtomicBool::new(false),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.options.namespace
    }

    /// Opens a connection. This goes on even if the call that began it is dropped, so it reaches each host.
    fn open(&self) -> impl Future<Output = Result<Connection>> + Send + 'static {
        let (options, given_up) = (Arc::clone(&self.options), Arc::clone(&self.given_up));
        async move { Connection::open(&options, given_up, &mut 0).await }
    }

    /// Leaves out records that cannot be read, and warns once.
    pub(crate) fn readable<T>(&self, read: Vec<Read<T>>) -> Vec<T> {
        let skip = |problem: String| {
            self.unreadable.skipped("postgres", self.namespace(), &problem);
        };
        read.into_iter().filter_map(|it| it.map_err(skip).ok()).collect()
    }

    /// Makes a call on the shared connection, and repeats it on a new one if that connection was closed.
    async fn call<T, F>(&self, call: impl Fn(Arc<Connection>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let open = || {
            let opened = self.open();
            async { opened.await.map(Arc::new) }
        };
        self.connection.call_with_retry(open, call).await
    }

    /// Looks after the leases, and records what the answer says.
    pub(crate) async fn look(
        &self,
        connection: &Connection,
        question: Question,
    ) -> Result<(), PgError> {
        let mut next = Some(question);
        while let Some(question) = next {
            let asked = statements::look(&connection.client, self.namespace(), &question);
            let answer = asked.await?;
            next = self.looks.answered(question, answer);
        }
        Ok(())
    }

    /// Makes sure that expiry can be trusted, and reads everything.
    ///
    /// # Errors
    ///
    /// If no client can write now. Then no living instance could renew, and an expired lease proves nothing.
    pub(crate) async fn snapshot(
        &self,
        connection: &Connection,
    ) -> Result<(Vec<Instance>, Position), Fault> {
        if let Some(question) = self.looks.question()
            && let Err(error) = self.look(connection, question).await
        {
            let refused = self.looks.refused(error::from_postgres(&error));
            refused.map_err(|outage| match fault(&error) {
                Fault::Server(_) => Fault::Server(outage),
                Fault::Connection(_) => Fault::Connection(outage),
            })?;
        }
        let snapshot = statements::snapshot(&connection.client, self.namespace());
        let (instances, end) = snapshot.await.map_err(|error| fault(&error))?;
        Ok((self.readable(instances), end))
    }
}

#[async_trait]
impl Driver for Postgres {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let written = self.call(async |connection: Arc<Connection>| {
            let statement =
                statements::register(&connection.client, self.namespace(), instance, ttl);
            connection.write(instance.id(), Some(instance), statement).await
        });
        let written = written.await;
        self.looks.tried_to_write(written.is_ok());
        written
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let written = self.call(async |connection: Arc<Connection>| {
            let statement = statements::deregister(&connection.client, self.namespace(), id);
            connection.write(id, None, statement).await
        });
        let written = written.await;
        self.looks.tried_to_write(written.is_ok());
        written
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        let read =
            self.call(async |connection: Arc<Connection>| Ok(self.snapshot(&connection).await?.0));
        let read = read.await;
        if read.is_err() {
            self.looks.lost_contact();
        }
        read
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(watch::watch(self))
    }

    fn name(&self) -> &str {
        "postgres"
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("hosts", &self.options.hosts)
            .field("namespace", &self.options.namespace)
            .finish_non_exhaustive()
    }
}
