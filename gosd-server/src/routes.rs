//! The routes of the API, for the server and for applications that mount them.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use crate::admission::admit;
use crate::handlers;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::shared::Shared;

/// Makes the routes of the API, to be mounted in your application.
///
/// Serve them with the clients' addresses (`into_make_service_with_connect_info::<SocketAddr>()`): without an
/// address all clients share one limit, and without a token no client is let in. The limits of connections
/// and of slow clients are up to the server that you mount the routes in. The watch of a driver begins with
/// the first request that needs it, and ends when the routes are dropped.
///
/// Event streams never end by themselves, and a server that ends gracefully waits for them. For such a server
/// take [`router_and_streams`].
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
/// # async fn example<F>(listener: tokio::net::TcpListener, signal: F) -> Result<(), Box<dyn std::error::Error>>
/// # where
/// #     F: Future<Output = ()> + Send + 'static,
/// # {
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
    (routes(Arc::clone(&shared)), Streams(shared))
}

/// The event streams of mounted routes. A drop of the handle does not end them.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

impl Streams {
    /// Ends all event streams, and refuses new ones with 503, because the host server is about to end.
    ///
    /// The watchers are told to reconnect one after another, within 2 s at most, so that they do not all
    /// reach the next server at once.
    pub fn end(&self) {
        self.0.close();
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Streams").field(&self.0.closing()).finish()
    }
}

pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let router = Router::new();
    #[cfg(feature = "page")]
    let router = crate::page::add(router);
    router
        .route("/health", get(handlers::health))
        .route("/metrics", get(handlers::metrics))
        .route("/v1/namespaces", get(handlers::namespaces))
        .route("/v1/{namespace}/instances", get(handlers::list))
        .route(
            "/v1/{namespace}/instances/{id}",
            get(handlers::one).put(handlers::register).delete(handlers::deregister),
        )
        .route("/v1/{namespace}/events", get(handlers::events))
        .route("/v1/{namespace}/prometheus", get(handlers::prometheus))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "see the header Allow")
        })
        .layer(from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}
