//! The driver: the methods of the contract as requests.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gosd_core::{
    BoxStream, Driver, Error, ErrorKind, Event, Instance, InstanceId, Result, async_trait,
};
use gosd_net::WarnOnce;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Method, StatusCode};

use crate::connection::{Connection, JSON, LARGEST, read};
use crate::given_up::GivenUp;
use crate::options::Options;
use crate::{watch, wire};

/// The HTTP driver.
pub(crate) struct Http {
    pub(crate) connection: Arc<Connection>,
    given_up: GivenUp,
    /// The list that came last and the server's tag for it, for a driver that is polled.
    last: Mutex<Option<(HeaderValue, Vec<Instance>)>>,
    unreadable: WarnOnce,
}

impl Http {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let connection = Arc::new(Connection::new(options)?);
        Ok(Self {
            connection,
            given_up: GivenUp::new(),
            last: Mutex::default(),
            unreadable: WarnOnce::new(),
        })
    }

    /// Warns once about records of the server that cannot be read.
    pub(crate) fn skip_unreadable(&self, error: &Error) {
        self.unreadable.skipped("http", &self.connection.options().namespace, error);
    }

    fn last(&self) -> Option<(HeaderValue, Vec<Instance>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Driver for Http {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let path =
            wire::instance_path(instance.id()).ok_or_else(|| unaddressable(instance.id()))?;
        let body = wire::registration(instance, ttl);
        let connection = Arc::clone(&self.connection);
        let call =
            Box::pin(async move { change(&connection, Method::PUT, &path, Some(body)).await });
        // A call whose caller has stopped waiting gives up the connections that it waited for.
        self.given_up.finish(call, || self.connection.forget()).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let Some(path) = wire::instance_path(id) else {
            // An id like this cannot have been registered by this API, so there is nothing to remove.
            let is_there = self.list().await?.iter().any(|instance| instance.id() == id);
            return if is_there { Err(unaddressable(id)) } else { Ok(()) };
        };
        self.given_up.settled().await;
        change(&self.connection, Method::DELETE, &path, None).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        let last = self.last();
        let condition = last.as_ref().map(|(tag, _)| (IF_NONE_MATCH, tag.clone()));
        let response =
            self.connection.send(Method::GET, "instances", condition, JSON, None).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            let unchanged = last.map(|(_, instances)| instances);
            return unchanged.ok_or_else(|| {
                Error::new(ErrorKind::Data, "the server answered 304 to a question without a tag")
            });
        }
        let tag = response.headers().get(ETAG).cloned();
        let body = read(response, LARGEST).await?;
        let text = str::from_utf8(&body).map_err(|error| {
            Error::new(ErrorKind::Data, "the answer is not UTF-8").caused_by(error)
        })?;
        let instances = wire::list(text, |error| self.skip_unreadable(error))?;
        if !self.connection.options().watch {
            let next = tag.map(|tag| (tag, instances.clone()));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = next;
        }
        Ok(instances)
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        self.connection.options().watch.then(|| watch::watch(self))
    }

    fn name(&self) -> &str {
        "http"
    }
}

/// Sends a request for a change; only a status of success confirms it.
async fn change(
    connection: &Connection,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<()> {
    let response = connection.send(method, path, None, JSON, body).await?;
    if response.status() == StatusCode::NOT_MODIFIED {
        return Err(Error::new(ErrorKind::Data, "the server answered 304 to a change"));
    }
    Ok(())
}

fn unaddressable(id: &InstanceId) -> Error {
    Error::new(ErrorKind::Config, format!("the id {id:?} cannot be a part of a path"))
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.connection.options();
        f.debug_struct("Http")
            .field("base", &options.base)
            .field("namespace", &options.namespace)
            .finish_non_exhaustive()
    }
}
