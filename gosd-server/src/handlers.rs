//! The handlers of the API's paths.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use gosd_core::InstanceId;
use hyper::body::{Frame, SizeHint};
use percent_encoding::percent_decode_str;
use tracing::debug;

use crate::auth::Access;
use crate::call::bounded;
use crate::connections::Status;
use crate::events::{Closing, Watcher};
use crate::metrics::CONTENT_TYPE as CONTENT_TYPE_OF_METRICS;
use crate::peer::Peer;
use crate::problem::{Problem, Refusal};
use crate::registration;
use crate::shared::Shared;
use crate::snapshot::Reader;
use crate::wanted::{MOST, Wanted};

const JSON: (HeaderName, &str) = (CONTENT_TYPE, "application/json");

type Answer = Result<Response, Problem>;
type InPath<T> = Result<Path<T>, PathRejection>;

pub(crate) async fn health(State(shared): State<Arc<Shared>>) -> Answer {
    let feeds = shared.namespaces.vital();
    let contacts = try_join_all(feeds.iter().map(|(_, feed)| feed.contact())).await;
    backend("watch", contacts)?;
    Ok(([JSON], r#"{"status":"ok"}"#).into_response())
}

pub(crate) async fn metrics(State(shared): State<Arc<Shared>>, uri: Uri) -> Answer {
    no_query(&uri)?;
    // A server that has received no request yet has not contacted its databases.
    let feeds = shared.namespaces.vital();
    join_all(feeds.iter().map(|(_, feed)| feed.first_contact())).await;
    let text = shared.metrics.text(&shared).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written")
    })?;
    Ok(([(CONTENT_TYPE, CONTENT_TYPE_OF_METRICS), (CACHE_CONTROL, "no-store")], text)
        .into_response())
}

pub(crate) async fn namespaces(State(shared): State<Arc<Shared>>, uri: Uri) -> Answer {
    no_query(&uri)?;
    let text = serde_json::json!({ "namespaces": shared.namespaces.names() }).to_string();
    Ok(([JSON, (CACHE_CONTROL, "no-store")], text).into_response())
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    path: InPath<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let feed = shared.namespaces.feed(&part(path)?, Access::Read)?;
    let services = services(uri.query())?;
    let listing = backend("list", feed.list().await)?;
    let (list, tag) = listing.list(services.as_ref(), feed.tags());
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(str::trim);
    if known.any(|known| known == "*" || known.trim_start_matches("W/") == tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let body = Body::new(ListBody(list));
    Ok(([JSON, (CACHE_CONTROL, "no-cache")], [(ETAG, tag)], body).into_response())
}

pub(crate) async fn prometheus(
    State(shared): State<Arc<Shared>>,
    path: InPath<String>,
    uri: Uri,
) -> Answer {
    let feed = shared.namespaces.feed(&part(path)?, Access::Read)?;
    let service = service(uri.query())?;
    let listing = backend("list", feed.complete_list().await)?;
    let body = Body::new(ListBody(backend("list", listing.targets(service.as_deref()).await)?));
    Ok(([JSON, (CACHE_CONTROL, "no-cache")], body).into_response())
}

pub(crate) async fn one(
    State(shared): State<Arc<Shared>>,
    path: InPath<(String, String)>,
    uri: Uri,
) -> Answer {
    let (namespace, id) = part(path)?;
    let feed = shared.namespaces.feed(&namespace, Access::Read)?;
    no_query(&uri)?;
    match backend("list", feed.list().await)?.one(&id.into()) {
        Some(json) => Ok(([JSON], json).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "there is no such instance")),
    }
}

pub(crate) async fn register(
    State(shared): State<Arc<Shared>>,
    path: InPath<(String, String)>,
    request: Request,
) -> Answer {
    let (namespace, id) = part(path)?;
    shared.namespaces.check(&namespace)?;
    no_query(request.uri())?;
    let limits = &shared.settings.limits;
    let status = request.extensions().get::<Arc<Status>>().cloned();
    let (instance, lease) = registration::read(request, limits).await?;
    if instance.id().as_str() != id {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "the id in the path is not the id in the body",
        ));
    }
    // Only now, so that a request that registers nothing creates no namespace.
    let feed = shared.namespaces.feed(&namespace, Access::Write)?;
    let admitted = feed.admit(limits.instances, instance.id(), lease).await;
    if !backend("watch", admitted)? {
        let detail = "the namespace has as many instances as it may";
        return Err(Problem::refused(Refusal::Instances, detail));
    }
    let driver = feed.driver();
    end_if_the_client_has_gone(status.as_deref()).await;
    backend("register", bounded(driver, "register", || driver.register(&instance, lease)).await)?;
    feed.echo(instance.id(), Some(&instance.to_json())).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn deregister(
    State(shared): State<Arc<Shared>>,
    path: InPath<(String, String)>,
    request: Request,
) -> Answer {
    let (namespace, id) = part(path)?;
    let feed = shared.namespaces.feed(&namespace, Access::Read)?;
    no_query(request.uri())?;
    let (driver, id) = (feed.driver(), InstanceId::from(id));
    end_if_the_client_has_gone(request.extensions().get::<Arc<Status>>().map(Arc::as_ref)).await;
    backend("deregister", bounded(driver, "deregister", || driver.deregister(&id)).await)?;
    feed.echo(&id, None).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    path: InPath<String>,
    request: Request,
) -> Answer {
    let feed = shared.namespaces.feed(&part(path)?, Access::Read)?;
    let wanted = Wanted::by_query(request.uri().query(), feed.tags()).ok_or_else(|| {
        let detail =
            format!("the query is service=NAME,NAME,... with {MOST} names at most, or none");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let closing = shared.closing();
    if *closing.borrow() != Closing::No {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending"));
    }
    let slot = shared.clients.watcher(Peer::of(&request), wanted.size())?;
    let last_id = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    backend("watch", feed.contact().await)?;
    let watcher = Watcher::new(feed, closing, wanted, last_id, slot);
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Some proxies buffer answers unless a header forbids it.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(watcher.into_stream())).into_response())
}

/// Ends a request here whose client has closed the connection, before the request changes anything.
///
/// A server that was frozen finds requests in its sockets that no client waits for any more. Such a client
/// may have gone to another server meanwhile and have deregistered there. A registration that is carried out
/// now would bring the instance back for a lease.
async fn end_if_the_client_has_gone(status: Option<&Status>) {
    // hyper drops this future when it reads the end of the connection, which it looks for whenever it is
    // polled: first it reads the body of the request to its end, then what follows. The runtime may not have
    // heard of the end yet, so the socket itself is asked; mounted routes do not have it.
    let _probe = status.map(Status::probe);
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// The body of a list. A client that reads too slowly, while newer lists are read, is cut off.
struct ListBody(Reader);

impl HttpBody for ListBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let gone = |_| io::Error::new(io::ErrorKind::TimedOut, "the list was read too slowly");
        Poll::Ready(self.0.piece().map_err(gone).transpose().map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.remaining() as u64)
    }
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

/// The one query key of the scrape targets.
fn service(query: Option<&str>) -> Result<Option<String>, Problem> {
    let bad = || Problem::new(StatusCode::BAD_REQUEST, "the query is service=NAME, or none");
    let services = query.is_none_or(|query| !query.contains('&')).then(|| services(query));
    Ok(services.ok_or_else(bad)??.and_then(|services| services.into_iter().next()))
}

/// The one query key of a list, as often as there are services.
fn services(query: Option<&str>) -> Result<Option<BTreeSet<String>>, Problem> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let message = "the query is service=NAME, with & between several, or none";
    let bad = || Problem::new(StatusCode::BAD_REQUEST, message);
    let name = |part: &str| {
        let name = part.strip_prefix("service=").filter(|name| !name.is_empty())?.replace('+', " ");
        Some(percent_decode_str(&name).decode_utf8().ok()?.into_owned())
    };
    query.split('&').map(name).collect::<Option<_>>().map(Some).ok_or_else(bad)
}
