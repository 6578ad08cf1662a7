//! The channel to one member: a socket, TLS, HTTP/2, and the token in every request.

use std::sync::Arc;
use std::task::{Context, Poll};

use etcd_client::{Channel as EtcdChannel, Client, ConnectOptions};
use gosd_core::{BoxFuture, Error, ErrorKind, Result};
use gosd_net::{Socket, Tls, connection_error};
use http::{Request, Uri};
use hyper_util::rt::TokioIo;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use crate::error;
use crate::session::Session;

/// The metadata key of the token.
const TOKEN: &str = "token";

/// Connects to a member. No request has been answered yet, so the member may not exist.
pub(crate) async fn open(
    member: &str,
    tls: Option<Arc<Tls>>,
    session: Arc<Session>,
) -> Result<Client> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let bad = |problem: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Config, format!("the URL's host cannot be one: {problem}"))
    };
    // With the scheme https the client library would do TLS itself.
    let endpoint = Endpoint::from_shared(format!("http://{member}")).map_err(|e| bad(&e))?;
    let origin = Uri::try_from(format!("{scheme}://{member}")).map_err(|e| bad(&e))?;
    let (host, port) = split(member).ok_or_else(|| bad(&member))?;
    let connector = Connector { host, port, tls };
    let connected = endpoint.origin(origin).connect_with_connector(connector).await;
    let channel = connected.map_err(|error| connection_error(&error))?;
    let of_url = session.clone();
    let authorized =
        channel.map_err(BoxError::from).map_request(move |mut request: Request<Body>| {
            if let Some(token) = session.token() {
                request.headers_mut().insert(TOKEN, token);
            }
            request
        });
    // A member without a leader refuses requests, instead of answering with outdated data.
    let with_leader = ConnectOptions::new().with_require_leader(true);
    let channel = EtcdChannel::Custom(BoxCloneSyncService::new(authorized));
    Client::from_channel(channel, Some(with_leader))
        .await
        .map_err(|e| error::from_etcd(&e, of_url.options()))
}

/// The host, without the brackets of an IPv6 literal, and the port.
pub(crate) fn split(member: &str) -> Option<(String, u16)> {
    let (host, port) = member.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// Opens the sockets; the certificates are read for each.
#[derive(Clone)]
struct Connector {
    host: String,
    port: u16,
    tls: Option<Arc<Tls>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Socket>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { host, port, tls } = self.clone();
        Box::pin(async move {
            let socket = gosd_net::open(&host, port, tls.as_deref()).await?;
            Ok(TokioIo::new(socket))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (member, host, port) in
            [("h:1", "h", 1), ("[::1]:2379", "::1", 2379), ("10.0.0.1:80", "10.0.0.1", 80)]
        {
            assert_eq!(split(member), Some((host.to_owned(), port)));
        }
        assert_eq!(split("h"), None);
    }
}
