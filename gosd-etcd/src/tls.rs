use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use etcd_client::{Identity, TlsOptions};
use gosd_core::{Error, ErrorKind, Result, TlsFiles};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error;

/// The certificates that a URL names.
pub(crate) struct Certificates {
    roots: RootCertStore,
    identity: Option<Pem>,
}

struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Certificates {
    /// Reads the files; done for each connection, so that renewed ones count.
    pub(crate) async fn read(files: &TlsFiles) -> Result<Self> {
        let files = files.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut roots = RootCertStore::empty();
            // Those that cannot be used are left out, as everywhere.
            let (added, _) = roots.add_parsable_certificates(match &files.ca {
                Some(ca) => CertificateDer::pem_slice_iter(&read(ca)?).flatten().collect(),
                None => rustls_native_certs::load_native_certs().certs,
            });
            if let Some(ca) = files.ca.filter(|_| added == 0) {
                return Err(bad_file(&ca, "there is no certificate in it"));
            }
            let identity = match &files.identity {
                Some((cert, key)) => Some(Pem { cert: read(cert)?, key: read(key)? }),
                None => None,
            };
            Ok(Self { roots, identity })
        });
        read.await
            .map_err(|error| Error::new(ErrorKind::Unavailable, format!("no TLS: {error}")))?
    }

    pub(crate) fn options(&self) -> TlsOptions {
        let tls = TlsOptions::new().trust_anchors(self.roots.roots.iter().cloned());
        match &self.identity {
            Some(Pem { cert, key }) => tls.identity(Identity::from_pem(cert, key)),
            None => tls,
        }
    }

    /// Finds out whether the server refuses the client's certificate.
    ///
    /// It says so only after the client has taken the connection for made, and a request that fails
    /// meanwhile does not tell why.
    pub(crate) async fn refusal(&self, host: &str) -> Option<Error> {
        let mut socket = self.handshake(host).await.ok()?;
        let said = error::from_transport(&socket.read_u8().await.err()?);
        Some(said).filter(|error| !error.is_retryable())
    }

    async fn handshake(&self, host: &str) -> io::Result<TlsStream<TcpStream>> {
        // Named, because the process's default may be missing, and ambiguous.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(Pem { cert, key }) => {
                let chain = CertificateDer::pem_slice_iter(cert).flatten().collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
                config.with_client_auth_cert(chain, key).map_err(io::Error::other)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let socket = TcpStream::connect(host).await?;
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }
}

/// Whether a server speaks TLS: whoever shows a certificate, good or bad, or minds ours, does.
pub(crate) async fn is_spoken_by(host: &str) -> bool {
    let nobody = Certificates { roots: RootCertStore::empty(), identity: None };
    match nobody.handshake(host).await {
        Ok(_) => true,
        Err(error) => !error::from_transport(&error).is_retryable(),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| bad_file(file, error))
}

fn bad_file(file: &Path, problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("{}: {problem}", file.display()))
}
