//! TLS for incoming connections, with certificates that may be renewed while the server runs.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gosd_core::Result;
use gosd_net::ServerTls;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;

/// Does the TLS handshake with the certificate that the files contain at that time.
pub(crate) struct Acceptor {
    files: ServerTls,
    last: Mutex<Last>,
}

/// The configuration when the files were last valid, and whether they are valid now.
struct Last {
    config: Arc<ServerConfig>,
    is_good: bool,
}

impl Acceptor {
    /// Fails if the files cannot be used.
    pub(crate) async fn new(cert: &Path, key: &Path) -> Result<Self> {
        let files = ServerTls::new(cert, key)?;
        let config = files.config().await?;
        Ok(Self { files, last: Mutex::new(Last { config, is_good: true }) })
    }

    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        TlsAcceptor::from(self.config().await).accept(stream).await
    }

    /// Files that cannot be used, such as half a renewal, leave the previous certificate in use.
    async fn config(&self) -> Arc<ServerConfig> {
        let read = self.files.config().await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let was_good = std::mem::replace(&mut last.is_good, read.is_ok());
        match read {
            Ok(config) => last.config = config,
            Err(error) if was_good => warn!(%error, "the certificate before goes on to be used"),
            Err(_) => {}
        }
        Arc::clone(&last.config)
    }
}
