//! Certificates and keys, read from files.

use std::fmt;
use std::path::Path;

use gosd_core::{Error, ErrorKind, Result};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::spawn_blocking;
use tracing::debug;

/// A certificate, its chain, and its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(cert)?)
            .collect::<Result<_, _>>()
            .map_err(|error| bad(cert, &error))?;
        if chain.is_empty() {
            return Err(bad(cert, &"there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| bad(key, &error))?;
        Ok(Self { chain, key })
    }

    pub(super) fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

/// The certificates to trust: those of a file, or else those of the system.
///
/// A certificate that cannot be parsed is left out; the others are trusted all the same.
pub(super) fn roots(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>> {
    let mut certificates: Vec<_> = match ca {
        Some(ca) => {
            let pem = read(ca)?;
            let (good, bad): (Vec<_>, Vec<_>) =
                CertificateDer::pem_slice_iter(&pem).partition(Result::is_ok);
            if !bad.is_empty() {
                debug!(file = %ca.display(), parts = bad.len(), "left out what is damaged");
            }
            good.into_iter().flatten().collect()
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    certificates.retain(|certificate| {
        let is_good = RootCertStore::empty().add(certificate.clone()).is_ok();
        if !is_good {
            debug!(file = ?ca, "left out a certificate that cannot be one of an authority");
        }
        is_good
    });
    match ca {
        Some(ca) if certificates.is_empty() => Err(bad(ca, &"there is no certificate in it")),
        _ => Ok(certificates),
    }
}

/// Reads files on a thread for blocking work.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(read).await.map_err(|ended| {
        let message = "no certificates were read, for the runtime is ending";
        Error::new(ErrorKind::Unavailable, message).caused_by(ended)
    })?
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| bad(file, &error))
}

fn bad(file: &Path, problem: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("{}: {problem}", file.display()))
}
