//! Requests to the server, and what its answers mean.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gosd_core::{Error, ErrorKind, Result};
use gosd_net::{Fault, Lazy, Tls};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::connector::Connector;
use crate::options::{Address, Options, Target};
use crate::{error, wire};

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENTS: &str = "text/event-stream";
/// The most bytes that a list, or an event, may have.
pub(crate) const LARGEST: usize = 128 * 1_024 * 1_024;

/// How long an idle connection is kept: shorter than the registry server and common proxies keep it.
const IDLE: Duration = Duration::from_secs(8);
/// How many bytes of the body of an error are read.
const PROBLEM: usize = 16 * 1_024;
/// How many bytes of the metrics are read.
const METRICS: usize = 1_024 * 1_024;

/// The connections to one server: opened when they are needed, and kept for the next call.
pub(crate) struct Connection {
    options: Arc<Options>,
    /// The index of this server in the options.
    server: usize,
    access: Access,
    /// A request that fails, or is dropped before its answer, may have used a dead idle connection. So the
    /// next request opens a new one.
    connections: Lazy<Connections>,
}

/// The credentials that all servers of a URL get.
#[derive(Clone)]
pub(crate) struct Access {
    authorization: Option<HeaderValue>,
    tls: Option<Arc<Tls>>,
}

impl Access {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let tls = match options.is_encrypted {
            true => Some(Arc::new(Tls::new(options.tls.clone(), &[b"http/1.1"])?)),
            false => None,
        };
        Ok(Self { authorization: options.token.as_deref().map(bearing).transpose()?, tls })
    }
}

type Connections = Client<Connector, Full<Bytes>>;

impl Connection {
    pub(crate) fn new(options: &Arc<Options>, server: usize, access: &Access) -> Self {
        let (options, access) = (Arc::clone(options), access.clone());
        Self { options, server, access, connections: Lazy::new() }
    }

    /// The name of the server in errors.
    pub(crate) fn name(&self) -> &str {
        &self.address().name
    }

    fn address(&self) -> &Address {
        &self.options.servers[self.server]
    }

    /// Makes the next request open a new connection; requests under way keep theirs.
    pub(crate) fn forget(&self) {
        self.connections.forget();
    }

    /// Sends a request for a path below the namespace; the answer that it returns is a success, or a 304.
    ///
    /// It waits for the head of the answer only.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        accept: &'static str,
        body: Option<String>,
    ) -> Result<Response<Incoming>> {
        let response = self.exchange(method, path, header, accept, body).await?;
        self.judge(response, accept).await
    }

    /// The metrics of the server, if it shows them: a proxy may keep them back.
    pub(crate) async fn metrics(&self) -> Option<String> {
        let uri = format!("{}/metrics", self.address().base);
        let response = self.exchange_at(Method::GET, uri, None, "*/*", None).await.ok()?;
        let is_there = response.status() == StatusCode::OK;
        let body = read(response, METRICS).await.ok().filter(|_| is_there)?;
        String::from_utf8(body).ok()
    }

    /// Checks that requests arrive at the server: any answer shows that.
    pub(crate) async fn is_heard(&self) -> Result<()> {
        let response = self.exchange(Method::OPTIONS, "events", None, JSON, None).await?;
        // The body is read to its end so that the connection can be used again; its content does not matter.
        let _ = read(response, PROBLEM).await;
        Ok(())
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        accept: &'static str,
        body: Option<String>,
    ) -> Result<Response<Incoming>> {
        let uri = format!("{}/v1/{}/{path}", self.address().base, self.options.namespace);
        self.exchange_at(method, uri, header, accept, body).await
    }

    async fn exchange_at(
        &self,
        method: Method,
        uri: String,
        header: Option<(HeaderName, HeaderValue)>,
        accept: &'static str,
        body: Option<String>,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::new(body.map(Bytes::from));
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().map_err(|problem| {
            Error::new(ErrorKind::Config, "the URL is none of HTTP").caused_by(problem)
        })?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let agent = concat!("gosd/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(self.access.authorization.clone().map(|token| (AUTHORIZATION, token)));
        headers.extend(header);
        if request.body().is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        let request = request.map(|body| Full::from(body.unwrap_or_default()));
        // Every request of the API is idempotent.
        let send = async |connections: Connections| {
            let sent = connections.request(request.clone()).await;
            match sent {
                Ok(response) => Ok(response),
                Err(problem) => Err(Fault::Connection(self.failure(&problem).await)),
            }
        };
        self.connections.call_with_retry(|| std::future::ready(Ok(self.open())), send).await
    }

    fn open(&self) -> Connections {
        let target = Arc::clone(&self.address().target);
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            // Calls that run at once, as after an outage, open more: those end with their calls.
            .pool_max_idle_per_host(1)
            .build(Connector::new(target, self.access.tls.clone()))
    }

    /// Why there is no answer.
    async fn failure(&self, problem: &hyper_util::client::legacy::Error) -> Error {
        let error = error::from_hyper(problem);
        // A server refuses a client's certificate only after the client takes the handshake for complete.
        if let (Some(tls), Target::Host(host, port)) = (&self.access.tls, &*self.address().target)
            && self.options.tls.identity.is_some()
            && !problem.is_connect()
            && let Some(refusal) = tls.refusal(host, *port).await
        {
            return refusal;
        }
        error
    }

    async fn judge(
        &self,
        response: Response<Incoming>,
        accept: &str,
    ) -> Result<Response<Incoming>> {
        let status = response.status();
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(response);
        }
        let media_type = media_type(response.headers()).to_owned();
        let is_expected = media_type.eq_ignore_ascii_case(accept);
        if status == StatusCode::OK && is_expected {
            return Ok(response);
        }
        let is_problem = media_type.eq_ignore_ascii_case("application/problem+json");
        if !is_problem && !is_expected {
            return Err(error::from_elsewhere(status, &media_type));
        }
        let mut detail = None;
        if is_problem {
            // Without a body there is only the status.
            let body = read(response, PROBLEM).await.unwrap_or_default();
            detail = wire::problem_detail(&body, self.options.token.as_deref());
        }
        Err(error::from_status(status, detail.as_deref()))
    }
}

fn bearing(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Error::new(ErrorKind::Config, "the token of the URL is no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

/// The next bytes of an answer; `None` at its end. Cancel-safe.
pub(crate) async fn chunk(response: &mut Response<Incoming>) -> Result<Option<Bytes>> {
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.map_err(|problem| error::from_hyper(&problem))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Reads a body that may have so many bytes.
pub(crate) async fn read(mut response: Response<Incoming>, limit: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(&mut response).await? {
        if body.len() + chunk.len() > limit {
            let message = format!("the answer has more than {limit} bytes");
            return Err(Error::new(ErrorKind::Data, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
