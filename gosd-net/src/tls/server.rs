//! The server's side of TLS.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result};
use rustls::ServerConfig;
use tokio::time::Instant;

use super::files::{Identity, off_the_runtime};
use super::provider;

/// How long a configuration is used before the files are read again.
const FRESH: Duration = Duration::from_secs(1);

/// A server's certificate and key, from files that may be renewed while it runs.
pub struct ServerTls {
    cert: PathBuf,
    key: PathBuf,
    last: Mutex<Option<Last>>,
}

struct Last {
    identity: Identity,
    config: Arc<ServerConfig>,
    read_at: Instant,
}

impl ServerTls {
    /// Uses these files (PEM). Does no I/O.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if there is no [provider](super::provider) of cryptography.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self> {
        provider()?;
        Ok(Self { cert: cert.into(), key: key.into(), last: Mutex::new(None) })
    }

    /// The configuration to accept a connection with; the files are read again once a second at most.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config), naming the file that cannot be used. What was returned before
    /// can then still serve.
    ///
    /// Cancel-safe.
    pub async fn config(&self) -> Result<Arc<ServerConfig>> {
        if let Some(last) = self.last().as_ref().filter(|last| last.read_at.elapsed() < FRESH) {
            return Ok(last.config.clone());
        }
        let (cert, key) = (self.cert.clone(), self.key.clone());
        let identity = off_the_runtime(move || Identity::read(&cert, &key)).await?;
        let mut last = self.last();
        let read_at = Instant::now();
        if let Some(last) = last.as_mut().filter(|last| last.identity == identity) {
            last.read_at = read_at;
            return Ok(last.config.clone());
        }
        let (chain, key) = identity.parts();
        let config = ServerConfig::builder_with_provider(provider()?)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|problem| {
                let message = format!("{}: it does not fit its key", self.cert.display());
                Error::new(ErrorKind::Config, message).caused_by(problem)
            })?;
        let config = Arc::new(config);
        *last = Some(Last { identity, config: config.clone(), read_at });
        Ok(config)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("cert", &self.cert)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
