//! The connection to an instance, which all calls that need it wait for together.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use gosd_core::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::ConnectError;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

/// How long a call waits for a silent host before it goes on to another instance, unless the endpoint is
/// configured otherwise.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection that is open, or being opened.
///
/// tonic's own channel connects again whenever its connection has broken. It does so for one queued request
/// after the other, so that at a silent host the waits of all of them add up, and without a bound for the
/// handshake of TLS. So here all calls wait for one attempt and share its result, and a connection that has
/// broken stays broken: the next call opens another.
#[derive(Clone)]
pub(crate) struct Connection {
    opening: Shared<BoxFuture<'static, Result<Channel, NoConnection>>>,
    is_given_up: Arc<AtomicBool>,
    within: Duration,
}

impl Connection {
    /// Begins to connect, in a task that goes on when the calls that wait for it are dropped. It ends within the
    /// time to connect, and at once with the last clone of the connection.
    pub(crate) fn open(endpoint: &Endpoint) -> Self {
        let within = endpoint.get_connect_timeout().unwrap_or(CONNECT);
        let mut attempt = JoinSet::new();
        attempt.spawn(connect(endpoint.clone(), within));
        let opening = async move {
            match attempt.join_next().await {
                Some(Ok(result)) => result,
                Some(Err(error)) if error.is_panic() => Err(NoConnection::Failed(Arc::new(error))),
                _ => Err(NoConnection::Broken),
            }
        };
        Self { opening: opening.boxed().shared(), is_given_up: Arc::default(), within }
    }

    /// Whether it is open, or may still come to be.
    pub(crate) fn is_usable(&self) -> bool {
        if self.is_given_up.load(Ordering::Relaxed) {
            return false;
        }
        match self.opening.peek() {
            Some(result) => result.is_ok(),
            // The attempt may have failed long ago, after its calls were dropped.
            None => self.opening.clone().now_or_never().is_none_or(|result| result.is_ok()),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opening.peek().is_some_and(Result::is_ok)
    }

    /// Lets the next call open another connection.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// The channel, once the connection is open.
    pub(crate) async fn channel(&self) -> Result<Channel, NoConnection> {
        if let Some(result) = self.opening.peek() {
            return result.clone();
        }
        // Bounded here too, because the attempt may be on a runtime that stands still.
        match timeout(self.within, self.opening.clone()).await {
            Ok(result) => result,
            Err(late) => {
                self.give_up();
                Err(NoConnection::Failed(Arc::new(late)))
            }
        }
    }
}

async fn connect(endpoint: Endpoint, within: Duration) -> Result<Channel, NoConnection> {
    let mut http = HttpConnector::new();
    // The scheme https is tonic's to handle.
    http.enforce_http(false);
    http.set_nodelay(endpoint.get_tcp_nodelay());
    http.set_keepalive(endpoint.get_tcp_keepalive());
    http.set_keepalive_interval(endpoint.get_tcp_keepalive_interval());
    http.set_keepalive_retries(endpoint.get_tcp_keepalive_retries());
    // Of several addresses, each gets a part of the time.
    http.set_connect_timeout(Some(within));
    match timeout(within, endpoint.connect_with_connector(Once(Some(http)))).await {
        Ok(connected) => connected.map_err(|error| NoConnection::Failed(Arc::new(error))),
        Err(late) => Err(NoConnection::Failed(Arc::new(late))),
    }
}

/// Connects once. When the connection has broken, tonic's attempt to replace it fails at once.
struct Once(Option<HttpConnector>);

impl Service<Uri> for Once {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let http = self.0.take();
        Box::pin(async move {
            let mut http = http.ok_or(NoConnection::Broken)?;
            poll_fn(|context| http.poll_ready(context)).await?;
            Ok(http.call(uri).await?)
        })
    }
}

/// Why there is no connection. In either case nothing of the call was sent.
#[derive(Clone, Debug)]
pub(crate) enum NoConnection {
    /// There was one, or an attempt, which ended. That says nothing about the instance now.
    Broken,
    /// The attempt failed, for every call that waited for it.
    Failed(Arc<dyn StdError + Send + Sync>),
}

impl NoConnection {
    /// As tonic has it, which makes a status of it.
    pub(crate) fn into_error(self) -> Box<dyn StdError + Send + Sync> {
        Box::new(ConnectError(Box::new(self)))
    }
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => f.write_str("the connection has broken"),
            Self::Failed(error) => {
                let mut root: &(dyn StdError + 'static) = &**error;
                while let Some(cause) = root.source() {
                    root = cause;
                }
                write!(f, "no connection: {root}")
            }
        }
    }
}

impl StdError for NoConnection {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Broken => None,
            Self::Failed(error) => Some(&**error),
        }
    }
}
