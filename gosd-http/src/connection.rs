use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result, TlsFiles};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Identity, Method, Response, StatusCode, redirect};
use tokio::sync::OnceCell;

use crate::options::Options;
use crate::{error, wire};

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENTS: &str = "text/event-stream";
/// The most bytes that a list, or an event, may have.
pub(crate) const LARGEST: usize = 128 * 1_024 * 1_024;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(3);
/// The end of an idle connection, sooner than that of the reference server and of common proxies.
const IDLE: Duration = Duration::from_secs(20);
/// The most that is read of what a server says about an error.
const PROBLEM: usize = 16 * 1_024;

/// The way to the server: connections that are made when they are needed, and kept for the next call.
pub(crate) struct Connection {
    options: Options,
    client: Mutex<Arc<OnceCell<Client>>>,
}

impl Connection {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, client: Mutex::default() }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Asks for something below the namespace; what comes is a success, or says 304.
    ///
    /// Only the beginning of the answer is waited for.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        accept: &str,
        body: Option<String>,
    ) -> Result<Response> {
        let response = self.exchange(method, path, header, accept, body).await?;
        self.judge(response, accept).await
    }

    /// Finds out whether what is sent arrives: any answer says so.
    pub(crate) async fn is_heard(&self) -> Result<()> {
        let response = self.exchange(Method::OPTIONS, "events", None, JSON, None).await?;
        // To the end, so that the connection can be used again; what it says does not matter.
        let _ = read(response, PROBLEM).await;
        Ok(())
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        accept: &str,
        body: Option<String>,
    ) -> Result<Response> {
        let mut attempt =
            Attempt { connection: self, cell: self.slot().clone(), is_answered: false };
        let client = attempt.cell.get_or_try_init(|| build(&self.options)).await?;
        let url = format!("{}/v1/{}/{path}", self.options.base, self.options.namespace);
        let mut request = client.request(method, url).header(ACCEPT, accept);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, JSON).body(body);
        }
        let response = request.send().await.map_err(error::from_reqwest)?;
        attempt.is_answered = true;
        Ok(response)
    }

    fn slot(&self) -> MutexGuard<'_, Arc<OnceCell<Client>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn judge(&self, response: Response, accept: &str) -> Result<Response> {
        let status = response.status();
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(response);
        }
        let media_type = media_type(&response).to_owned();
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
            // Without its text the status has to do.
            let body = read(response, PROBLEM).await.unwrap_or_default();
            detail = wire::problem_detail(&body);
        }
        // A server may repeat what it was sent.
        let token = self.options.token.as_deref();
        let detail = detail.filter(|text| token.is_none_or(|token| !text.contains(token)));
        Err(error::from_status(status, detail.as_deref()))
    }
}

/// A request that fails, or is dropped before it is answered, may have done so because the idle
/// connections are dead, or the certificates out of date: the next one begins with new ones.
struct Attempt<'a> {
    connection: &'a Connection,
    cell: Arc<OnceCell<Client>>,
    is_answered: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut slot = self.connection.slot();
        if !self.is_answered && Arc::ptr_eq(&slot, &self.cell) {
            *slot = Arc::default();
        }
    }
}

fn media_type(response: &Response) -> &str {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

/// Reads a body that may have so many bytes.
pub(crate) async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(error::from_reqwest)? {
        if body.len() + chunk.len() > limit {
            let message = format!("the answer has more than {limit} bytes");
            return Err(Error::new(ErrorKind::Data, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn build(options: &Options) -> Result<Client> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &options.token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value
            .map_err(|_| Error::new(ErrorKind::Config, "the token of the URL is no header"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let builder = Client::builder()
        .user_agent(concat!("gosd/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE);
    if !options.base.starts_with("https:") {
        return finish(builder.tls_certs_only([]));
    }
    let tls = options.tls.clone();
    // It reads certificates: those of the URL, or those of the system.
    let client = tokio::task::spawn_blocking(move || finish(with_certificates(builder, &tls)?));
    client.await.map_err(|ended| {
        Error::new(ErrorKind::Unavailable, "the runtime is ending").caused_by(ended)
    })?
}

fn finish(builder: reqwest::ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        let message = "the certificates of the URL cannot be used";
        Error::new(ErrorKind::Config, message).caused_by(error)
    })
}

fn with_certificates(
    mut builder: reqwest::ClientBuilder,
    tls: &TlsFiles,
) -> Result<reqwest::ClientBuilder> {
    if let Some(file) = &tls.ca {
        let roots = Certificate::from_pem_bundle(&content(file)?);
        builder = builder.tls_certs_only(roots.map_err(|error| bad(file).caused_by(error))?);
    }
    if let Some((cert, key)) = &tls.identity {
        let pem = [content(cert)?, content(key)?].join(&b'\n');
        let identity = Identity::from_pem(&pem).map_err(|error| bad(cert).caused_by(error))?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

fn content(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| bad(file).caused_by(error))
}

fn bad(file: &Path) -> Error {
    let message = format!("{} of the URL cannot be read as PEM", file.display());
    Error::new(ErrorKind::Config, message)
}
