//! The sockets that accept connections: TCP, or on Unix the path of a socket.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use gosd_core::{Error, ErrorKind, Result};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tracing::debug;

use crate::connections::Status;
use crate::peer::Peer;
use crate::probed::Probed;

/// How many TCP connections may wait for the server to accept them. The system may allow fewer: Linux has a limit of its
/// own, `net.core.somaxconn`, which a Unix socket has anyway.
///
/// After a restart all clients of a server come within a moment. Whom the queue has no room for gets no answer, and
/// so goes to the next server, where there may be no room either.
const WAITING: i32 = 4_096;

pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

/// A connection that was accepted.
pub(crate) enum Stream {
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream, u32),
}

/// A byte stream, as the layers above need it.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

impl Listener {
    /// Listens at an address; returns it with the port that the system gave.
    pub(crate) async fn bind(address: impl ToSocketAddrs) -> io::Result<(SocketAddr, Self)> {
        let listener = TcpListener::bind(address).await?;
        // Tokio listens with room for 128. To listen once more changes nothing else.
        SockRef::from(&listener).listen(WAITING)?;
        Ok((listener.local_addr()?, Self::Tcp(listener)))
    }

    /// Accepts a connection. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Stream::Tcp(stream, address))
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                let user = stream.peer_cred()?.uid();
                Ok(Stream::Unix(stream, user))
            }
        }
    }
}

impl Stream {
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_, address) => Peer::from(*address),
            #[cfg(unix)]
            Self::Unix(_, user) => Peer::User(*user),
        }
    }

    /// The byte stream of a connection, which breaks when the other side disappears without closing it.
    pub(crate) fn bytes(self, patience: Duration, status: &Arc<Status>) -> Box<dyn Bytes> {
        match self {
            Self::Tcp(stream, _) => {
                if let Err(error) = configure(&stream, patience) {
                    debug!(%error, "connection");
                }
                Box::new(Probed::new(stream, Arc::clone(status)))
            }
            #[cfg(unix)]
            Self::Unix(stream, _) => Box::new(Probed::new(stream, Arc::clone(status))),
        }
    }
}

fn configure(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Other systems have no such option, and use their own timeout.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    SockRef::from(stream).set_tcp_user_timeout(Some(patience))?;
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = patience;
    Ok(())
}

/// A Unix socket, which removes its file on drop.
#[cfg(unix)]
pub(crate) struct UnixSocket {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    /// The inode of the file, so that the drop does not remove another file that has replaced it.
    inode: u64,
}

#[cfg(unix)]
impl UnixSocket {
    /// Listens at a path, with these permissions. Replaces a socket that no server uses any more.
    pub(crate) fn bind(path: &Path, mode: u32) -> Result<Self> {
        use std::fs;
        use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

        let shown = path.display();
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                let message = format!("{shown} is there already, and is not a socket");
                return Err(Error::new(ErrorKind::Config, message));
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                let message = format!("another server serves at {shown}");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
        let bound = || -> io::Result<Self> {
            // The socket is made in a private folder, so that nobody can connect before the permissions are
            // set.
            let folder = path.with_file_name(format!(".gosd-{:016x}", fastrand::u64(..)));
            let at = folder.join("socket");
            fs::DirBuilder::new().create(&folder)?;
            let listening = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
                .and_then(|()| tokio::net::UnixListener::bind(&at))
                .and_then(|listener| {
                    fs::set_permissions(&at, fs::Permissions::from_mode(mode))?;
                    let inode = fs::symlink_metadata(&at)?.ino();
                    fs::rename(&at, path)?;
                    Ok(Self { listener, path: path.to_owned(), inode })
                });
            // The folder still contains the socket of an attempt that failed.
            let _ = fs::remove_dir_all(&folder);
            listening
        };
        bound().map_err(|error| {
            let message = format!("no socket can be made at {shown}");
            Error::new(ErrorKind::Unavailable, message).caused_by(error)
        })
    }
}

#[cfg(unix)]
impl Drop for UnixSocket {
    fn drop(&mut self) {
        use std::os::unix::fs::MetadataExt;

        let is_ours = |file: std::fs::Metadata| file.ino() == self.inode;
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // If the file cannot be removed, the next server replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn many_connections_wait_until_they_are_accepted() {
        let (address, _listener) = Listener::bind("127.0.0.1:0").await.unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(10));
        let waiting: Vec<_> = (0..400).map(|_| connect().unwrap()).collect();
        assert_eq!(waiting.len(), 400);
    }
}
