//! What every request passes first: may its client make it, and is the client within its limits?

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::debug;

use crate::auth::{Access, check_local};
use crate::connections::Status;
use crate::limits::Kind;
#[cfg(feature = "page")]
use crate::page::is_asked_for as is_of_page;
use crate::peer::Peer;
use crate::problem::{Problem, Refusal};
use crate::shared::Shared;

/// Lets a request through if its client may make it, and logs the result.
pub(crate) async fn admit(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (matched, started_at) = (request.extensions().get().cloned(), Instant::now());
    let response = match check(&shared, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    shared.metrics.count(matched.as_ref(), &method, &response, started_at.elapsed());
    debug!(%method, path, status = response.status().as_u16(), "request");
    response
}

/// Checks permissions before limits, so that refused clients use up nothing of the others' limits.
fn check(shared: &Shared, request: &Request) -> Result<(), Problem> {
    let peer = Peer::of(request);
    let verdict = authorize(shared, peer, request);
    let kind = verdict.as_ref().map_or(Kind::Refused, |kind| *kind);
    match (verdict, shared.clients.request(peer, kind)) {
        // A client with a bad token has to learn that at once, also behind an address with many such clients;
        // "too many requests" would make it wait. Who guesses tokens learns no more from this answer, since a
        // valid token is let in however many bad ones came before, and each further guess costs a connection.
        (Err(refusal), Err(_)) => return Err(refusal.closing()),
        (verdict, within_limits) => {
            verdict?;
            within_limits?;
        }
    }
    if kind == Kind::Served
        && let Some(status) = request.extensions().get::<Arc<Status>>()
    {
        status.proved();
    }
    Ok(())
}

fn authorize(shared: &Shared, peer: Peer, request: &Request) -> Result<Kind, Problem> {
    let (settings, headers) = (&shared.settings, request.headers());
    if settings.is_local() {
        return check_local(peer, headers, is_of_page(request)).map(|()| Kind::Served);
    }
    if settings.tokens.is_empty() {
        return Ok(Kind::Served);
    }
    let access = match settings.tokens.access(headers) {
        Err(_) if request.uri().path() == "/health" || is_of_page(request) => {
            return Ok(Kind::Open);
        }
        access => access?,
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && access < Access::Write {
        return Err(Problem::refused(Refusal::ReadOnlyToken, "this token may only read"));
    }
    Ok(Kind::Served)
}

/// Without the feature there is no page.
#[cfg(not(feature = "page"))]
fn is_of_page(_: &Request) -> bool {
    false
}
