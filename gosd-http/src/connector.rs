//! How a connection to the server is made: by TCP, with TLS or without, or by a Unix socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use gosd_core::{BoxFuture, Error, ErrorKind, Result};
use gosd_net::{Socket, Tls};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tower_service::Service;

use crate::options::Target;

/// How long connecting may take, the handshake of TLS included.
const CONNECT: Duration = Duration::from_secs(3);

/// Connects to the address in the URL.
#[derive(Clone)]
pub(crate) struct Connector {
    target: Arc<Target>,
    tls: Option<Arc<Tls>>,
}

/// A connection to the server.
pub(crate) struct Stream(TokioIo<Box<dyn Socket>>);

impl Connector {
    pub(crate) fn new(target: Arc<Target>, tls: Option<Arc<Tls>>) -> Self {
        Self { target, tls }
    }

    async fn connect(self) -> Result<Stream> {
        let socket: Box<dyn Socket> = match &*self.target {
            #[cfg(unix)]
            Target::Socket(path) => {
                let socket = tokio::net::UnixStream::connect(path).await;
                Box::new(socket.map_err(|error| unreachable(path, error))?)
            }
            Target::Host(host, port) => gosd_net::open(host, *port, self.tls.as_deref()).await?,
        };
        Ok(Stream(TokioIo::new(socket)))
    }
}

#[cfg(unix)]
fn unreachable(path: &std::path::Path, error: io::Error) -> Error {
    let message = format!("nobody serves at {}; is the server running?", path.display());
    Error::new(ErrorKind::Unavailable, message).caused_by(error)
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            timeout(CONNECT, connector.connect()).await.unwrap_or_else(|_| {
                let message = format!("cannot connect within {CONNECT:?}; is the address right?");
                Err(Error::new(ErrorKind::Timeout, message))
            })
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
