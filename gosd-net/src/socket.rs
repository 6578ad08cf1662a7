//! Connections that are plain or encrypted.

use gosd_core::Result;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::tcp::{connect, connection_error};
use crate::tls::Tls;

/// A connection, plain or encrypted.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Connects to a host, with TLS if there is a configuration for it, and plain otherwise.
///
/// # Errors
///
/// Those of [`Tls::connect`], or [`connection_error`]'s of [`connect`].
///
/// Cancel-safe. The caller sets a bound in time.
pub async fn open(host: &str, port: u16, tls: Option<&Tls>) -> Result<Box<dyn Socket>> {
    Ok(match tls {
        Some(tls) => Box::new(tls.connect(host, port).await?),
        None => Box::new(connect(host, port).await.map_err(|error| connection_error(&error))?),
    })
}
