use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::try_join_all;
use gosd_core::{Instance, InstanceId};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use tracing::debug;

use crate::auth::{Access, check_local};
use crate::events::Watcher;
use crate::feed::{Feed, bounded};
use crate::problem::Problem;
use crate::registration;
use crate::settings::Settings;
use crate::shared::Shared;

const JSON: (HeaderName, &str) = (CONTENT_TYPE, "application/json");

type Answer = Result<Response, Problem>;
type InPath<T> = Result<Path<T>, PathRejection>;

/// Makes the API's routes, to be mounted in an application of your own.
///
/// Serve them with the clients' addresses (`into_make_service_with_connect_info::<SocketAddr>()`):
/// without an address all clients share one limit, and without a token nobody is let in. The bounds
/// of connections and of slow clients are those of the server that you mount it in. The watch of a
/// driver begins with the first request that needs it, and ends when the routes are dropped.
///
/// Event streams have no end of their own, and a server that ends gracefully waits for them: take
/// [`router_and_streams`] for one.
///
/// ```
/// use std::sync::Arc;
/// use axum::Router;
/// use gosd_core::Memory;
/// use gosd_server::{Settings, router};
///
/// let settings = Settings::new().namespace("gosd", Arc::new(Memory::new()))?;
/// let app: Router = Router::new().nest("/registry", router(settings));
/// # Ok::<(), gosd_core::Error>(())
/// ```
pub fn router(settings: Settings) -> Router {
    router_and_streams(settings).0
}

/// Like [`router`], with a handle to end the event streams.
///
/// ```
/// use std::net::SocketAddr;
/// use std::sync::Arc;
/// use gosd_core::Memory;
/// use gosd_server::{Settings, router_and_streams};
///
/// # async fn example(listener: tokio::net::TcpListener, signal: impl Future<Output = ()> + Send + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::new().namespace("gosd", Arc::new(Memory::new()))?;
/// let (app, streams) = router_and_streams(settings);
/// let app = app.into_make_service_with_connect_info::<SocketAddr>();
/// let ending = async move {
///     signal.await;
///     streams.end();
/// };
/// axum::serve(listener, app).with_graceful_shutdown(ending).await?;
/// # Ok(())
/// # }
/// ```
pub fn router_and_streams(settings: Settings) -> (Router, Streams) {
    let shared = Arc::new(Shared::new(settings));
    let streams = Streams(shared.closing.clone());
    (routes(shared), streams)
}

/// The event streams of mounted routes. Dropped, it leaves them as they are.
#[derive(Clone, Debug)]
pub struct Streams(watch::Sender<bool>);

impl Streams {
    /// Ends all of them, and refuses new ones with 503: the host server is about to end.
    pub fn end(&self) {
        self.0.send_replace(true);
    }
}

pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/{namespace}/instances", get(list))
        .route("/v1/{namespace}/instances/{id}", get(one).put(register).delete(deregister))
        .route("/v1/{namespace}/events", get(events))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "see the header Allow")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}

fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

/// Lets a request through if its client may make it, and logs what came of it.
async fn admit(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match check(&shared, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    debug!(%method, path, status = response.status().as_u16(), "request");
    response
}

fn check(shared: &Shared, request: &Request) -> Result<(), Problem> {
    let peer = peer(request);
    shared.clients.request(peer.map(|peer| peer.ip()))?;
    let (settings, headers) = (&shared.settings, request.headers());
    if settings.is_local() {
        check_local(peer, headers)?;
    } else if !settings.tokens.is_empty() && request.uri().path() != "/health" {
        let access = settings.tokens.access(headers)?;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if !reads && access < Access::Write {
            return Err(Problem::new(StatusCode::FORBIDDEN, "this token may only read"));
        }
    }
    Ok(())
}

async fn health(State(shared): State<Arc<Shared>>) -> Answer {
    let feeds = shared.feeds();
    let contacts = try_join_all(feeds.iter().map(|feed| feed.contact())).await;
    backend("watch", contacts)?;
    Ok(([JSON], r#"{"status":"ok"}"#).into_response())
}

async fn list(
    State(shared): State<Arc<Shared>>,
    path: InPath<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let feed = shared.feed(&part(path)?)?;
    let service = service(uri.query())?;
    let mut instances = read(&feed).await?;
    instances.retain(|instance| service.as_ref().is_none_or(|name| instance.service() == name));
    instances.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    let json: Vec<String> = instances.iter().map(Instance::to_json).collect();
    let body = format!("{{\"instances\":[{}]}}", json.join(","));
    let tag = shared.tag(&body);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(str::trim);
    if known.any(|known| known == "*" || known.trim_start_matches("W/") == tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    Ok(([JSON, (CACHE_CONTROL, "no-cache")], [(ETAG, tag)], body).into_response())
}

async fn one(
    State(shared): State<Arc<Shared>>,
    path: InPath<(String, String)>,
    uri: Uri,
) -> Answer {
    let (namespace, id) = part(path)?;
    let feed = shared.feed(&namespace)?;
    no_query(&uri)?;
    let found = read(&feed).await?.into_iter().find(|instance| instance.id().as_str() == id);
    match found {
        Some(instance) => Ok(([JSON], instance.to_json()).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "there is no such instance")),
    }
}

async fn register(
    State(shared): State<Arc<Shared>>,
    path: InPath<(String, String)>,
    request: Request,
) -> Answer {
    let (namespace, id) = part(path)?;
    let feed = shared.feed(&namespace)?;
    no_query(request.uri())?;
    let limits = &shared.settings.limits;
    let (instance, lease) = registration::read(request, limits).await?;
    if instance.id().as_str() != id {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "the id in the path is not the id in the body",
        ));
    }
    let admitted = feed.admit(limits.instances, instance.id(), lease).await;
    if !backend("watch", admitted)? {
        return Err(Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "the namespace has as many instances as it may",
        ));
    }
    let driver = feed.driver();
    backend("register", bounded(driver, "register", driver.register(&instance, lease)).await)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn deregister(
    State(shared): State<Arc<Shared>>,
    path: InPath<(String, String)>,
    uri: Uri,
) -> Answer {
    let (namespace, id) = part(path)?;
    let feed = shared.feed(&namespace)?;
    no_query(&uri)?;
    let (driver, id) = (feed.driver(), InstanceId::from(id));
    backend("deregister", bounded(driver, "deregister", driver.deregister(&id)).await)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn events(
    State(shared): State<Arc<Shared>>,
    path: InPath<String>,
    request: Request,
) -> Answer {
    let feed = shared.feed(&part(path)?)?;
    no_query(request.uri())?;
    let closing = shared.closing.subscribe();
    if *closing.borrow() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending"));
    }
    let slot = shared.clients.watcher(peer(&request).map(|peer| peer.ip()))?;
    let last_id = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    // An id that this server did not give is as good as none.
    let last_id = last_id.and_then(|id| id.parse().ok());
    backend("watch", feed.contact().await)?;
    let watcher = Watcher::new(feed, closing, last_id, slot);
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Some proxies keep back what they are not told to let through.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(watcher.into_stream())).into_response())
}

async fn read(feed: &Feed) -> Result<Vec<Instance>, Problem> {
    let driver = feed.driver();
    backend("list", bounded(driver, "list", driver.list()).await)
}

fn backend<T>(operation: &str, result: gosd_core::Result<T>) -> Result<T, Problem> {
    result.map_err(|error| {
        debug!(%error, operation, "the backend failed");
        Problem::from_backend(&error)
    })
}

fn part<T>(path: InPath<T>) -> Result<T, Problem> {
    match path {
        Ok(Path(path)) => Ok(path),
        Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the path is not UTF-8")),
    }
}

fn no_query(uri: &Uri) -> Result<(), Problem> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "this path takes no query")),
    }
}

/// The one query key of a list.
fn service(query: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let bad = || Problem::new(StatusCode::BAD_REQUEST, "the query is service=NAME, or none");
    let name = query.strip_prefix("service=").filter(|name| !name.is_empty()).ok_or_else(bad)?;
    if name.contains('&') {
        return Err(bad());
    }
    let name = name.replace('+', " ");
    let name = percent_decode_str(&name).decode_utf8().map_err(|_| bad())?;
    Ok(Some(name.into_owned()))
}
