//! Where a URL leads: its host, port and path, and a connection to them.

use std::io;

use gosd::limits::{self, UrlParts};
use tokio::net::TcpStream;

/// The parts of a URL that matter for a connection.
#[cfg_attr(not(unix), allow(dead_code, reason = "only `gosd run` needs all of it"))]
pub(crate) struct Target<'a> {
    pub(crate) scheme: &'a str,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: &'a str,
    /// The port; 0 if it is unknown.
    pub(crate) port: u16,
    pub(crate) path: &'a str,
}

/// Parses a URL.
pub(crate) fn target(url: &str) -> Option<Target<'_>> {
    let UrlParts { scheme, address, rest, .. } = limits::split_url(url)?;
    let (host, port) = limits::split_host(address).ok()?;
    let port = port.unwrap_or(match scheme {
        "http" => 80,
        "https" => 443,
        _ => 0,
    });
    let path = rest.split('#').next()?;
    // A path with such a query would not be a slice of the text.
    let path = if path.starts_with('/') { path } else { "/" };
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain.then_some(Target { scheme, host, port, path })
}

/// Connects to a host and a port.
///
/// # Errors
///
/// Also if the connection leads to itself. Where no socket listens, the system may choose the destination's
/// port as the local one.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    match stream.local_addr()? == stream.peer_addr()? {
        true => Err(io::ErrorKind::ConnectionRefused.into()),
        false => Ok(stream),
    }
}
