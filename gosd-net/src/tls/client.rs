//! The client's side of TLS.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result, TlsFiles};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::{self, Identity, off_the_runtime};
use super::{error, provider};
use crate::tcp::{connect, connection_error};

/// How long a server may take to say that it refuses a certificate.
const PROBE: Duration = Duration::from_secs(1);

/// Connections by TLS, with the certificates that a URL names.
///
/// The files are read for each connection, and a new configuration is made if their content has changed:
/// renewed certificates, of another authority too, count from the next connection on.
pub struct Tls {
    files: TlsFiles,
    alpn: Vec<Vec<u8>>,
    last: Mutex<Option<(Material, Arc<ClientConfig>)>>,
}

/// What a configuration is made of.
#[derive(PartialEq, Eq)]
struct Material {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
}

impl Tls {
    /// Uses these files, and offers the protocols in `alpn`, such as `b"h2"`, if there are any. Does no
    /// I/O.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if there is no [provider](super::provider) of cryptography.
    pub fn new(files: TlsFiles, alpn: &[&[u8]]) -> Result<Self> {
        provider()?;
        let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { files, alpn, last: Mutex::new(None) })
    }

    /// The configuration of the files as they are now; the same `Arc` while their content is the same.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config), naming the file that cannot be used.
    ///
    /// Cancel-safe.
    pub async fn config(&self) -> Result<Arc<ClientConfig>> {
        let files = self.files.clone();
        let material = off_the_runtime(move || Material::read(&files)).await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = last.as_ref().filter(|(known, _)| *known == material) {
            return Ok(config.clone());
        }
        let mut config = material.config()?;
        config.alpn_protocols.clone_from(&self.alpn);
        let config = Arc::new(config);
        *last = Some((material, config.clone()));
        Ok(config)
    }

    /// Connects to a host, by the first of its addresses that answers, and speaks TLS there.
    ///
    /// That the server refuses the client's certificate can show after this only, at the first read.
    ///
    /// # Errors
    ///
    /// Those of [`config`](Tls::config), and [`connection_error`]'s.
    ///
    /// Cancel-safe.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>> {
        let config = self.config().await?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| {
            let message = format!("no certificate can be for the host {host:?}");
            Error::new(ErrorKind::Config, message).caused_by(error)
        })?;
        let socket = connect(host, port).await.map_err(|error| connection_error(&error))?;
        let handshake = TlsConnector::from(config).connect(name, socket);
        handshake.await.map_err(|error| connection_error(&error))
    }

    /// Finds out whether a connection broke because of TLS, such as a certificate that the server refuses.
    ///
    /// A server refuses a client's certificate only after the client takes the handshake for complete, so
    /// that a request sent meanwhile may fail without a reason. This connects, sends nothing, and waits
    /// for the server's verdict for a second at most.
    pub async fn refusal(&self, host: &str, port: u16) -> Option<Error> {
        let verdict = async {
            let mut socket = match self.connect(host, port).await {
                Ok(socket) => socket,
                Err(error) => return Some(error),
            };
            error(&socket.read_u8().await.err()?)
        };
        let verdict = timeout(PROBE, verdict).await.ok().flatten();
        verdict.filter(|error| !error.is_retryable())
    }
}

impl Material {
    fn read(files: &TlsFiles) -> Result<Self> {
        let identity = files.identity.as_ref();
        Ok(Self {
            roots: files::roots(files.ca.as_deref())?,
            identity: identity.map(|(cert, key)| Identity::read(cert, key)).transpose()?,
        })
    }

    fn config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.iter().cloned());
        let unusable = |problem: rustls::Error| error(&problem).unwrap_or_else(|| unfit(&problem));
        let config = ClientConfig::builder_with_provider(provider()?)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots);
        match &self.identity {
            None => Ok(config.with_no_client_auth()),
            Some(identity) => {
                let (chain, key) = identity.parts();
                config.with_client_auth_cert(chain, key).map_err(|problem| unfit(&problem))
            }
        }
    }
}

fn unfit(problem: &rustls::Error) -> Error {
    let message = format!("the cert and the key of the URL do not fit: {problem}");
    Error::new(ErrorKind::Config, message)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}
