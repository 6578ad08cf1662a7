//! A connection that can be asked whether the other side has closed it, before the runtime has heard of that.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connections::Status;

/// A socket that is read at once while its connection's status says so, and otherwise only when the runtime says
/// that there is something to read.
///
/// A process that was frozen may have collected its events just before: then it knows of a request and not yet of
/// the end behind it, though both are there.
pub(crate) struct Probed<S> {
    inner: S,
    status: Arc<Status>,
}

impl<S> Probed<S> {
    pub(crate) fn new(inner: S, status: Arc<Status>) -> Self {
        Self { inner, status }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Probed<S>
where
    for<'a> SockRef<'a>: From<&'a S>,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if read.is_ready() || !self.status.is_probed() {
            return read;
        }
        let socket = SockRef::from(&self.inner);
        match (&*socket).read(buffer.initialize_unfilled()) {
            Ok(count) => {
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Probed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::FutureExt;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Sends a request and closes the connection while the runtime is not looking.
    async fn end_is_seen<S>(near: S, mut far: impl Write)
    where
        S: AsyncRead + Unpin,
        for<'a> SockRef<'a>: From<&'a S>,
    {
        let status = Arc::<Status>::default();
        let mut near = Probed::new(near, Arc::clone(&status));
        let mut buffer = [0; 16];
        far.write_all(b"request").unwrap();
        assert_eq!(near.read(&mut buffer).await.unwrap(), 7);
        drop(far);
        // From here on nothing waits, so that the runtime hears of nothing.
        assert!(near.read(&mut buffer).now_or_never().is_none());
        let probe = status.probe();
        assert_eq!(near.read(&mut buffer).now_or_never().unwrap().unwrap(), 0);
        drop(probe);
        assert!(near.read(&mut buffer).now_or_never().is_none());
    }

    #[tokio::test]
    async fn an_end_is_seen_before_the_runtime_has_heard_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().await.unwrap();
        end_is_seen(near, far).await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn an_end_on_a_unix_socket_is_seen_before_the_runtime_has_heard_of_it() {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        end_is_seen(tokio::net::UnixStream::from_std(near).unwrap(), far).await;
    }

    #[tokio::test]
    async fn an_open_connection_is_not_taken_for_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().await.unwrap();
        let status = Arc::<Status>::default();
        let mut near = Probed::new(near, Arc::clone(&status));
        let _probe = status.probe();
        let mut buffer = [0; 16];
        assert!(near.read(&mut buffer).now_or_never().is_none());
        far.write_all(b"more").unwrap();
        assert_eq!(near.read(&mut buffer).await.unwrap(), 4);
    }
}
