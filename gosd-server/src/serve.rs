//! The server: it accepts connections, and limits what they can use.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use gosd_core::{Error, ErrorKind, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::ToSocketAddrs;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tower_service::Service;
use tracing::{debug, info, warn};

use crate::connections::{Connections, Place};
use crate::limits::Limits;
#[cfg(unix)]
use crate::listener::UnixSocket;
use crate::listener::{Bytes, Listener, Stream};
use crate::peer::Peer;
use crate::routes::routes;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::signals;
use crate::socket::Socket;
use crate::tls;

/// How long a server that ends waits for the requests under way.
const FAREWELL: Duration = Duration::from_secs(4);
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// How many bytes of a request's head are read, and how many of an answer are buffered for a slow reader.
const BUFFER: usize = 16 * 1_024;

/// Serves the API at an address, such as `127.0.0.1:4673`, until the [`Server`] ends.
///
/// It speaks HTTP/1.1, with TLS if the settings name a certificate. A dropped future leaves nothing behind.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the address is not on loopback although no token is configured and the
/// settings do not [say so](Settings::allow_everybody_without_token), or if the certificate cannot
/// be used; [`ErrorKind::Unavailable`] if the address cannot be bound.
pub async fn serve(address: impl ToSocketAddrs, settings: Settings) -> Result<Server> {
    let tls = match &settings.tls {
        Some((cert, key)) => Some(Arc::new(tls::Acceptor::new(cert, key).await?)),
        None => None,
    };
    let (address, listener) = Listener::bind(address).await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the address cannot be bound").caused_by(error)
    })?;
    if settings.is_local() && !address.ip().is_loopback() {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "{address} is not on loopback and no token is configured; add a token, or allow everybody without one"
            ),
        ));
    }
    if tls.is_none() && !settings.tokens.is_empty() && !address.ip().is_loopback() {
        warn!(%address, "tokens come unencrypted; configure a certificate, or a proxy that has one");
    }
    info!(%address, tls = tls.is_some(), "serving");
    Ok(Server::start(address, listener, settings, tls))
}

/// Serves the API on a Unix socket, for processes of the same host, until the [`Server`] ends.
///
/// The file gets the permissions `rw` for the server's user only, unless the settings have
/// [others](Settings::unix_socket_mode). Whoever may open the file is let in, and without tokens may write.
/// The file replaces a socket that a server left behind, and is removed when this server ends. If the future is
/// dropped, a file that is just being made is removed a moment later.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the settings have TLS, which a Unix socket does not need, or if the path belongs
/// to something else; [`ErrorKind::Unavailable`] if another server uses the path, or the socket cannot be
/// made.
#[cfg(unix)]
pub async fn serve_unix(path: impl AsRef<Path>, settings: Settings) -> Result<Server<PathBuf>> {
    if settings.tls.is_some() {
        let message = "a Unix socket has no TLS; leave the certificate out";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let (path, mode) = (path.as_ref().to_owned(), settings.unix_socket_mode);
    let at = path.clone();
    let runtime = tokio::runtime::Handle::current();
    let bound = tokio::task::spawn_blocking(move || {
        // The socket has to be registered inside the runtime.
        let _guard = runtime.enter();
        UnixSocket::bind(&at, mode)
    });
    let socket = bound.await.map_err(|ended| {
        Error::new(ErrorKind::Unavailable, "the runtime is ending").caused_by(ended)
    })??;
    info!(path = %path.display(), "serving");
    Ok(Server::start(path, Listener::Unix(socket), settings, None))
}

/// A running server. A drop ends it at once.
///
/// `A` is its address: a socket address, or for [`serve_unix`] a path.
pub struct Server<A = SocketAddr> {
    address: A,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl<A: Clone> Server<A> {
    /// The address of the server, with the actual port if port 0 was asked for.
    pub fn address(&self) -> A {
        self.address.clone()
    }
}

impl<A> Server<A> {
    fn start(
        address: A,
        listener: Listener,
        settings: Settings,
        tls: Option<Arc<tls::Acceptor>>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let limits = settings.limits.clone();
        let connections = Connections::new(&limits);
        let shared = Arc::new(Shared::new(settings));
        shared.connections.get_or_init(|| connections.clone());
        let acceptor = Acceptor { limits, connections, shared, tls };
        let task = tokio::spawn(acceptor.run(listener, stopped));
        Self { address, stop: Some(stop), task }
    }

    /// Accepts no more connections, tells the watchers to reconnect, and waits for the requests under way, 4
    /// s at most. Dropping the future ends the server at once.
    ///
    /// The watchers are told one after another, within 2 s at most, so that they do not all reach the next
    /// server at once.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        // An error would be a panic of the task, or its end before this call.
        let _ = (&mut self.task).await;
    }

    /// Serves until SIGTERM or SIGINT arrives (Ctrl-C on systems other than Unix), and then [shuts
    /// down](Self::shutdown). This works as PID 1 too, as the only process of a container.
    ///
    /// A second signal takes its default action at once. PID 1 has no default action, so there the process
    /// exits with 128 plus the signal's number. Dropping the future ends the server at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the signals cannot be awaited; the server has ended then.
    pub async fn shutdown_on_signal(self) -> Result<()> {
        signals::asked_to_end().await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "signals cannot be waited for").caused_by(error)
        })?;
        info!("ending");
        self.shutdown().await;
        Ok(())
    }
}

impl<A> Drop for Server<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<A: fmt::Debug> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Acceptor {
    limits: Limits,
    connections: Connections,
    shared: Arc<Shared>,
    tls: Option<Arc<tls::Acceptor>>,
}

impl Acceptor {
    async fn run(self, listener: Listener, mut stopped: oneshot::Receiver<()>) {
        let router = routes(Arc::clone(&self.shared));
        let graceful = GracefulShutdown::new();
        // The connections end when this task is dropped.
        let mut connections = JoinSet::new();
        loop {
            let (stream, place) = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                _ = &mut stopped => break,
            };
            let connection = Connection {
                peer: stream.peer(),
                router: router.clone(),
                limits: self.limits.clone(),
                tls: self.tls.clone(),
            };
            connections.spawn(connection.serve(stream, place, graceful.watcher()));
            // Removes the connections that have ended.
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        self.shared.close();
        if timeout(FAREWELL, graceful.shutdown()).await.is_err() {
            info!("some requests did not end in time");
        }
    }

    /// The next connection that gets a place.
    async fn accept(&self, listener: &Listener) -> (Stream, Place) {
        loop {
            match listener.accept().await {
                Ok(stream) => match self.connections.enter(stream.peer()).await {
                    Some(place) => return (stream, place),
                    None => debug!(peer = ?stream.peer(), "too many connections of one client"),
                },
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

struct Connection {
    peer: Peer,
    router: Router,
    limits: Limits,
    tls: Option<Arc<tls::Acceptor>>,
}

impl Connection {
    /// Serves the connection until it ends, or until its place is needed for another one.
    async fn serve(self, stream: Stream, place: Place, watcher: Watcher) {
        let peer = self.peer;
        tokio::select! {
            () = self.encrypt(stream, &place, watcher) => {}
            () = place.is_over(self.limits.first_request) => debug!(?peer, "no request came"),
        }
    }

    async fn encrypt(&self, stream: Stream, place: &Place, watcher: Watcher) {
        let stream = stream.bytes(self.limits.patience, &place.status);
        match &self.tls {
            None => self.speak(stream, place, watcher).await,
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => self.speak(stream, place, watcher).await,
                Err(error) => debug!(peer = ?self.peer, %error, "TLS"),
            },
        }
    }

    async fn speak(&self, stream: impl Bytes + 'static, place: &Place, watcher: Watcher) {
        let answer = service_fn(|request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            place.status.asked();
            request.extensions_mut().insert(self.peer);
            request.extensions_mut().insert(Arc::clone(&place.status));
            let answer = self.router.clone().call(request);
            async move { answer.await as Result<Response, Infallible> }
        });
        let patience = self.limits.patience;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(Socket::new(stream, patience)), answer);
        if let Err(error) = watcher.watch(connection).await {
            debug!(peer = ?self.peer, %error, "connection");
        }
    }
}
