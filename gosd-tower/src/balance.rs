//! The layer: each request goes to the next instance in turn, and to another one where that is safe.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use gosd_core::{Attempts, BoxFuture, Client, Error, ErrorKind, Failure, Resend, Turn};
use http::request::Parts;
use http::{Request, Response, StatusCode, Uri};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument, Span, field, info_span};

use crate::credentials;
use crate::target::Target;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A layer over a service that sends `http::Request`s. Requests for `gosd://NAME/path?query` go to the
/// instances of that service in turn, and on failure to other instances by the rules on the [front
/// page](crate#when-an-instance-fails).
///
/// A request with a [`gosd_core::Service`] among its extensions goes to the instances that this handle has turns of,
/// such as those of one zone. The handle is of the service in the URI, and what is wrapped does not see it.
///
/// What an error of the wrapped service means is up to a function; see [`new`](Self::new). The errors of the
/// resulting service are boxed: the wrapped one's own, or a [`gosd_core::Error`] of the lookup.
#[derive(Clone)]
pub struct BalanceLayer<C, F> {
    rules: Rules<C, F>,
}

/// The service that a [`BalanceLayer`] makes.
#[derive(Clone)]
pub struct Balance<S, C, F> {
    inner: S,
    rules: Rules<C, F>,
}

struct Rules<C, F> {
    gosd: Client,
    copy: Arc<C>,
    failure: Arc<F>,
}

impl<C, F> Clone for Rules<C, F> {
    fn clone(&self) -> Self {
        let Self { gosd, copy, failure } = self;
        Self { gosd: gosd.clone(), copy: Arc::clone(copy), failure: Arc::clone(failure) }
    }
}

impl<C, F> BalanceLayer<C, F> {
    /// Makes the layer over a client of gosd.
    ///
    /// `copy` copies a body, so that the request can be sent again, or returns `None` if that is impossible.
    /// `failure` says what an error of the wrapped service means. With `None` the error says nothing about
    /// the instance, as a timeout does, and the request is not sent again. With [`Failure::Unsent`] any
    /// request is sent again, so nothing may have been sent.
    ///
    /// ```
    /// # fn make(gosd: gosd_core::Client) {
    /// use gosd_core::Failure;
    /// use gosd_tower::BalanceLayer;
    ///
    /// # #[derive(Debug)] struct Error;
    /// # impl Error { fn is_connect(&self) -> bool { true } }
    /// let layer = BalanceLayer::new(
    ///     gosd,
    ///     |body: &String| Some(body.clone()),
    ///     // Such as `hyper_util::client::legacy::Error`.
    ///     |error: &Error| match error.is_connect() {
    ///         true => Some(Failure::Unsent),
    ///         false => Some(Failure::Unanswered),
    ///     },
    /// );
    /// # }
    /// ```
    pub fn new<B, E>(gosd: Client, copy: C, failure: F) -> Self
    where
        C: Fn(&B) -> Option<B>,
        F: Fn(&E) -> Option<Failure>,
    {
        Self { rules: Rules { gosd, copy: Arc::new(copy), failure: Arc::new(failure) } }
    }
}

impl<S, C, F> Layer<S> for BalanceLayer<C, F> {
    type Service = Balance<S, C, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Balance { inner, rules: self.rules.clone() }
    }
}

impl<S, B, R, C, F> Service<Request<B>> for Balance<S, C, F>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Send + 'static,
    R: Send,
    C: Fn(&B) -> Option<B> + Send + Sync + 'static,
    F: Fn(&S::Error) -> Option<Failure> + Send + Sync + 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Readiness of the wrapped service may depend on the destination, which is not known yet.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (inner, rules) = (self.inner.clone(), self.rules.clone());
        Box::pin(async move {
            let target = Target::of(request.uri())?;
            let (mut parts, body) = request.into_parts();
            let turn = match parts.extensions.remove() {
                Some(handle) => turn_of(handle, &target).await?,
                None => rules.gosd.turn(&target.service).await?,
            };
            credentials::move_to_header(&parts.uri.to_string(), &mut parts.headers);
            let resend = match (rules.copy)(&body) {
                None => Resend::Never,
                Some(_) => {
                    let has_key = parts.headers.contains_key("idempotency-key");
                    Resend::of_http(parts.method.as_str(), has_key)
                }
            };
            let attempts = Attempts::new(turn, resend);
            let (attempts, head) = attempts.prepared(|it| target.head(it, &parts))?;
            send(inner, &rules, (&target, parts), head, body, attempts).await
        })
    }
}

/// Takes a turn of the handle that the request has brought.
async fn turn_of(mut handle: gosd_core::Service, target: &Target) -> Result<Turn, Error> {
    if handle.name() != target.service {
        let message = format!(
            "the handle is of {:?}, and the URI is of {:?}; name the same in both",
            handle.name(),
            target.service
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    handle.next_turn().await
}

/// Sends a request of a head and a body, and then sends it to others as long as that is of use.
async fn send<S, B, R, C, F>(
    mut inner: S,
    rules: &Rules<C, F>,
    (target, parts): (&Target, Parts),
    mut head: Parts,
    mut body: B,
    mut attempts: Attempts,
) -> Result<Response<R>, BoxError>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    C: Fn(&B) -> Option<B>,
    F: Fn(&S::Error) -> Option<Failure>,
{
    // The last refusal is kept, because an answer is never swallowed, even if no other instance answers.
    let mut refusal = None;
    loop {
        let spare = (rules.copy)(&body);
        let span = span(&parts, &head.uri, &attempts);
        let request = Request::from_parts(head, body);
        let (failure, sent) = match attempt(&mut inner, request).instrument(span.clone()).await {
            Ok(response) => {
                record(&span, response.status());
                match Failure::of_http_status(response.status().as_u16()) {
                    Some(failure) => (failure, Ok(response)),
                    None => {
                        attempts.succeeded();
                        return Ok(response);
                    }
                }
            }
            Err(error) => {
                span.record("otel.status_code", "ERROR");
                let failure = (rules.failure)(&error);
                span.record("error.type", failure.map_or("_OTHER", name));
                match failure {
                    Some(failure) => (failure, Err(error.into())),
                    None => return refusal.ok_or_else(|| error.into()),
                }
            }
        };
        let next = attempts.failed(failure);
        let next = next.and_then(|next| next.prepared(|it| target.head(it, &parts)).ok());
        let (Some(next), Some(spare)) = (next, spare) else {
            // What the last instance did to which something was sent, and not that no other one was left.
            return sent.or_else(|error| refusal.ok_or(error));
        };
        ((attempts, head), body) = (next, spare);
        refusal = sent.ok().or(refusal);
    }
}

async fn attempt<S, B>(inner: &mut S, request: Request<B>) -> Result<S::Response, S::Error>
where
    S: Service<Request<B>>,
{
    std::future::poll_fn(|context| inner.poll_ready(context)).await?;
    inner.call(request).await
}

/// The span of one attempt, with the names of OpenTelemetry's conventions.
fn span(parts: &Parts, uri: &Uri, attempts: &Attempts) -> Span {
    let resends = attempts.resends();
    info_span!(
        "request",
        otel.name = parts.method.as_str(),
        otel.kind = "client",
        otel.status_code = field::Empty,
        http.request.method = parts.method.as_str(),
        http.request.resend_count = (resends > 0).then_some(resends),
        http.response.status_code = field::Empty,
        "error.type" = field::Empty,
        url.scheme = uri.scheme_str(),
        server.address = uri.host(),
        server.port = port(uri),
        gosd.service = attempts.instance().service(),
        gosd.instance = attempts.instance().id().as_str(),
    )
}

/// The port that a URI says, or that its scheme has.
fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    })
}

fn record(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_client_error() || status.is_server_error() {
        // As text, because for other errors it is a word.
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
}

fn name(failure: Failure) -> &'static str {
    match failure {
        Failure::Unsent => "connect",
        _ => "request",
    }
}

impl<C, F> fmt::Debug for BalanceLayer<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalanceLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C, F> fmt::Debug for Balance<S, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").field("inner", &self.inner).finish_non_exhaustive()
    }
}
