//! The driver: the methods of the contract as requests.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gosd_core::{
    BoxStream, Driver, Error, ErrorKind, Event, Instance, InstanceId, Result, async_trait,
};
use gosd_net::WarnOnce;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use crate::connection::{Connection, JSON, LARGEST, read};
use crate::given_up::{GivenUp, Registration};
use crate::options::Options;
use crate::servers::{PATIENCE, Servers};
use crate::{watch, wire};

/// The HTTP driver.
pub(crate) struct Http {
    pub(crate) servers: Servers,
    given_up: GivenUp,
    last: Mutex<Option<Last>>,
    unreadable: WarnOnce,
}

/// The last list, for a driver that is polled.
#[derive(Clone)]
struct Last {
    /// The server that sent it, and the list's entity tag, which means nothing to another server.
    server: usize,
    tag: HeaderValue,
    instances: Vec<Instance>,
}

impl Http {
    pub(crate) fn new(options: Options) -> Result<Self> {
        Ok(Self {
            servers: Servers::new(options)?,
            given_up: GivenUp::new(),
            last: Mutex::default(),
            unreadable: WarnOnce::new(),
        })
    }

    /// Warns once about records of the server that cannot be read.
    pub(crate) fn skip_unreadable(&self, error: &Error) {
        self.unreadable.skipped("http", &self.servers.options().namespace, error);
    }

    async fn instances(&self, response: Response<Incoming>) -> Result<Vec<Instance>> {
        if response.status() == StatusCode::NOT_MODIFIED {
            let message = "the server answered 304 to a question without a tag";
            return Err(Error::new(ErrorKind::Data, message));
        }
        let body = read(response, LARGEST).await?;
        let text = str::from_utf8(&body).map_err(|error| {
            Error::new(ErrorKind::Data, "the answer is not UTF-8").caused_by(error)
        })?;
        wire::list(text, |error| self.skip_unreadable(error))
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for Http {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let path =
            wire::instance_path(instance.id()).ok_or_else(|| unaddressable(instance.id()))?;
        let body = wire::registration(instance, ttl);
        let registration = Registration { id: instance.id().clone(), body: body.as_str().into() };
        self.given_up.others_settled(&registration, ttl).await;
        let register = |server| {
            let connection = Arc::clone(self.servers.at(server));
            let (path, body, asked) = (path.clone(), body.clone(), Arc::clone(&connection));
            let call =
                Box::pin(async move { change(&asked, Method::PUT, &path, Some(body)).await });
            // A call whose caller has stopped waiting gives up the connections that it waited for.
            self.given_up.finish(registration.clone(), call, move || connection.forget())
        };
        self.servers.ask(PATIENCE.min(ttl / 5), register).await.map(drop)
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let Some(path) = wire::instance_path(id) else {
            // An id like this cannot have been registered by this API, so there is nothing to remove.
            let is_there = self.list().await?.iter().any(|instance| instance.id() == id);
            return if is_there { Err(unaddressable(id)) } else { Ok(()) };
        };
        self.given_up.settled(id).await;
        let deregister =
            async |server| change(self.servers.at(server), Method::DELETE, &path, None).await;
        self.servers.ask(PATIENCE, deregister).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        let last = self.last().clone();
        let list = async |server| {
            let known = last.as_ref().filter(|last| last.server == server);
            let condition = known.map(|last| (IF_NONE_MATCH, last.tag.clone()));
            self.servers.at(server).send(Method::GET, "instances", condition, JSON, None).await
        };
        let (begun, response) = self.servers.begin(PATIENCE, list).await?;
        let server = begun.server();
        if response.status() == StatusCode::NOT_MODIFIED
            && let Some(last) = last.filter(|last| last.server == server)
        {
            begun.complete();
            return Ok(last.instances);
        }
        let tag = response.headers().get(ETAG).cloned();
        let instances = self.instances(response).await?;
        begun.complete();
        if !self.servers.options().watch {
            *self.last() = tag.map(|tag| Last { server, tag, instances: instances.clone() });
        }
        Ok(instances)
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        self.servers.options().watch.then(|| watch::watch(self, None))
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        self.servers.options().watch.then(|| watch::watch(self, wire::events_path(services)))
    }

    async fn list_services(&self, services: &BTreeSet<String>) -> Result<Vec<Instance>> {
        let Some(path) = wire::list_path(services) else { return self.list().await };
        let list =
            async |server| self.servers.at(server).send(Method::GET, &path, None, JSON, None).await;
        match self.servers.begin(PATIENCE, list).await {
            Ok((begun, response)) => {
                let instances = self.instances(response).await?;
                begun.complete();
                Ok(instances)
            }
            // An older server lists one service, or all.
            Err(error) if error.kind() == ErrorKind::Config => self.list().await,
            Err(error) => Err(error),
        }
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
        let options = self.servers.options();
        let bases = options.servers.iter().map(|server| &server.base);
        f.debug_struct("Http")
            .field("servers", &bases.collect::<Vec<_>>())
            .field("namespace", &options.namespace)
            .finish_non_exhaustive()
    }
}
