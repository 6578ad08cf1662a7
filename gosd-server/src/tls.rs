use std::path::Path;
use std::sync::Arc;

use gosd_core::{Error, ErrorKind, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Reads a certificate chain and its key, to speak TLS with.
pub(crate) async fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let (cert, key) = (cert.to_owned(), key.to_owned());
    let read = tokio::task::spawn_blocking(move || read(&cert, &key));
    read.await.map_err(|ended| {
        Error::new(ErrorKind::Unavailable, "the runtime is ending").caused_by(ended)
    })?
}

fn read(cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| bad(cert).caused_by(error))?;
    let key_of_it = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key).caused_by(error))?;
    // Named, because the process's default may be missing, and ambiguous.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(rustls::ConfigBuilder::<ServerConfig, _>::with_no_client_auth)
        .and_then(|config| config.with_single_cert(chain, key_of_it))
        .map_err(|error| bad(cert).caused_by(error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn bad(file: &Path) -> Error {
    let message = format!("{} cannot be used for TLS", file.display());
    Error::new(ErrorKind::Config, message)
}
