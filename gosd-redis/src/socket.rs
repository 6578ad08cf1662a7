use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result, TlsFiles};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error;
use crate::options::Host;

/// How long a diagnosis may take.
const PROBE: Duration = Duration::from_secs(1);

/// A plain or an encrypted connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Connects to a server, by TLS if there are certificates to go by.
pub(crate) async fn open(host: &Host, tls: Option<&TlsFiles>) -> Result<Box<dyn Socket>> {
    let config = match tls {
        None => return Ok(Box::new(tcp(host).await.map_err(|e| error::from_io(&e))?)),
        Some(files) => tls_config(files.clone()).await?,
    };
    let socket = secure(host, config).await.map_err(|e| error::from_io(&e))?;
    Ok(Box::new(socket))
}

/// Finds out whether TLS is to blame for a connection that failed.
///
/// A client that speaks the wrong protocol sees no more than a connection that breaks or is silent,
/// and one whose certificate is refused hears of it only when it reads.
pub(crate) async fn diagnose(host: &Host, tls: Option<&TlsFiles>) -> Option<Error> {
    let diagnosis = async {
        match tls {
            None if speaks_tls(host).await => Some(Error::new(
                ErrorKind::Config,
                "the server speaks TLS; the scheme of its URL begins with rediss",
            )),
            None => None,
            Some(_) if speaks_plain(host).await => Some(Error::new(
                ErrorKind::Config,
                "the server does not speak TLS; the scheme of its URL begins with redis",
            )),
            Some(files) => {
                let mut socket = open(host, Some(files)).await.ok()?;
                let error = socket.read_u8().await.err()?;
                Some(error::from_io(&error)).filter(|error| !error.is_retryable())
            }
        }
    };
    timeout(PROBE, diagnosis).await.ok().flatten()
}

async fn tcp(host: &Host) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((host.0.as_str(), host.1)).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn secure(
    host: &Host,
    config: ClientConfig,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.0.clone()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp(host).await?).await
}

/// Whatever Redis says to a `PING`, it begins like this.
async fn speaks_plain(host: &Host) -> bool {
    let answer = async {
        let mut socket = tcp(host).await?;
        socket.write_all(b"PING\r\n").await?;
        socket.read_u8().await
    };
    matches!(answer.await, Ok(b'+' | b'-'))
}

/// Whoever shows a certificate, good or bad, speaks TLS.
async fn speaks_tls(host: &Host) -> bool {
    let Ok(config) = build(RootCertStore::empty(), None) else { return false };
    match secure(host, config).await {
        Ok(_) => true,
        Err(error) => matches!(
            error.get_ref().and_then(|inner| inner.downcast_ref()),
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
        ),
    }
}

/// Reads the certificates anew for each connection, so that renewed ones count.
async fn tls_config(files: TlsFiles) -> Result<ClientConfig> {
    let load = move || {
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(ca) => {
                for certificate in certificates(ca)? {
                    roots.add(certificate).map_err(|error| bad_file(ca, &error))?;
                }
            }
            // Those that cannot be used are left out, as everywhere.
            None => drop(
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
            ),
        }
        let identity = match &files.identity {
            None => None,
            Some((cert, key)) => Some((
                certificates(cert)?,
                PrivateKeyDer::from_pem_file(key).map_err(|error| bad_file(key, &error))?,
            )),
        };
        build(roots, identity).map_err(|error| {
            Error::new(ErrorKind::Config, format!("the cert and the key of the URL: {error}"))
        })
    };
    tokio::task::spawn_blocking(load)
        .await
        .map_err(|error| Error::new(ErrorKind::Unavailable, format!("no TLS: {error}")))?
}

fn build(
    roots: RootCertStore,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, rustls::Error> {
    // Named, because the process's default may be missing, and ambiguous.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match identity {
        None => Ok(config.with_no_client_auth()),
        Some((chain, key)) => config.with_client_auth_cert(chain, key),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| bad_file(file, &error))?;
    if certificates.is_empty() {
        return Err(bad_file(file, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn bad_file(file: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("{}: {problem}", file.display()))
}
