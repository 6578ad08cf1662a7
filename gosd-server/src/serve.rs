use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use gosd_core::{Error, ErrorKind, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::{debug, info, warn};

use crate::limits::Limits;
use crate::routes::routes;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::socket::Socket;
use crate::tls;

/// How long a server that ends waits for the requests under way.
const FAREWELL: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How many bytes of an answer wait for a slow reader.
const BUFFER: usize = 64 * 1_024;

/// Serves the API at an address, such as `127.0.0.1:4673`, until the [`Server`] ends.
///
/// It speaks HTTP/1.1, with TLS if the settings name a certificate.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the address is not on loopback although no token is configured and the
/// settings do not [say so](Settings::allow_everybody_without_token), or if the certificate cannot
/// be used; [`ErrorKind::Unavailable`] if the address cannot be bound.
pub async fn serve(address: impl ToSocketAddrs, settings: Settings) -> Result<Server> {
    let tls = match &settings.tls {
        Some((cert, key)) => Some(tls::acceptor(cert, key).await?),
        None => None,
    };
    let bound = TcpListener::bind(address).await.and_then(|l| Ok((l.local_addr()?, l)));
    let (address, listener) = bound.map_err(|error| {
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
    let (stop, stopped) = oneshot::channel();
    let acceptor = Acceptor {
        limits: settings.limits.clone(),
        permits: Arc::new(Semaphore::new(settings.limits.connections)),
        shared: Arc::new(Shared::new(settings)),
        tls,
    };
    let task = tokio::spawn(acceptor.run(listener, stopped));
    Ok(Server { address, stop: Some(stop), task })
}

/// A server that runs; dropped, it ends at once.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Where it serves: the port is there even if the one asked for was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, ends the watchers' streams, and waits for what is under way, 5 s at
    /// most. Dropping the future ends the server at once.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        // An error would be a panic of the task, or its end before this.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Acceptor {
    limits: Limits,
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
        let router = routes(Arc::clone(&self.shared));
        let graceful = GracefulShutdown::new();
        // Dropped with this task, it ends its own.
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                Some(_) = connections.join_next() => continue,
                _ = &mut stopped => break,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    let connection = Connection {
                        peer,
                        router: router.clone(),
                        patience: self.limits.patience,
                        watcher: graceful.watcher(),
                        _permit: permit,
                    };
                    connections.spawn(connection.serve(stream, self.tls.clone()));
                }
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
        drop(listener);
        self.shared.closing.send_replace(true);
        if timeout(FAREWELL, graceful.shutdown()).await.is_err() {
            info!("some requests did not end in time");
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer, permit))
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    patience: Duration,
    watcher: Watcher,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        if let Err(error) = configure(&stream, self.patience) {
            debug!(%error, "connection");
        }
        let Some(tls) = tls else { return self.speak(stream).await };
        match timeout(self.patience, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => debug!(peer = %self.peer, %error, "TLS"),
            Err(_) => debug!(peer = %self.peer, "TLS takes too long"),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, router, patience, watcher, _permit } = self;
        let answer = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = router.clone().call(request);
            async move { answer.await as Result<Response, Infallible> }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(Socket::new(stream, patience)), answer);
        if let Err(error) = watcher.watch(connection).await {
            debug!(%peer, %error, "connection");
        }
    }
}

/// Has a connection break whose other side is gone without a word.
fn configure(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Elsewhere it takes as long as the system thinks fit.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(patience))?;
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = patience;
    Ok(())
}
