//! A resolver that looks services up by name, instead of DNS.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;

use gosd_core::{Client, Error, ErrorKind, Instance};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A resolver for which the host of a URL is the name of a service, as in `https://orders/7`, without a port.
/// It balances connections, and not requests.
///
/// Use this for certificates that name the service, and for libraries that take a [`reqwest::Client`] and make
/// requests themselves. Everywhere else use [`SendBy`](crate::SendBy): reqwest keeps connections and reuses
/// them, so requests go where a connection exists, and with HTTP/2 all go over one. A new connection goes to
/// the next instance in turn, or to others if it cannot be made. Failures are not
/// [reported](Client::report), and nothing is sent again.
///
/// A client with this resolver can reach services and no other hosts. reqwest puts the host of a URL into lower
/// case, so the name of the service has to be in lower case, too.
///
/// ```no_run
/// # async fn find() -> Result<(), Box<dyn std::error::Error>> {
/// # let driver = std::sync::Arc::new(gosd_core::Memory::new());
/// let gosd = gosd_core::Client::builder(driver).start().await?;
/// let http = reqwest::Client::builder()
///     .dns_resolver(gosd_reqwest::Resolver::new(gosd))
///     .no_proxy() // or a proxy would be asked for a host of that name
///     .build()?;
/// let order = http.get("https://orders/7").send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Resolver {
    gosd: Client,
}

impl Resolver {
    /// Makes the resolver over a client of gosd.
    pub fn new(gosd: Client) -> Self {
        Self { gosd }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let gosd = self.gosd.clone();
        Box::pin(async move {
            let mut addresses = Vec::new();
            let mut failure = None;
            for instance in in_turn(&gosd, name.as_str()).await? {
                match addresses_of(&instance).await {
                    Ok(found) => addresses.extend(found),
                    Err(error) => failure = Some(error),
                }
            }
            match failure {
                Some(error) if addresses.is_empty() => Err(error),
                _ => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

/// The instances of a service, from the next in turn on. Those that have failed lately come last.
async fn in_turn(gosd: &Client, service: &str) -> Result<Vec<Arc<Instance>>, Error> {
    let next = gosd.next(service).await?;
    let ejected = gosd.ejected();
    let (out, mut all): (Vec<_>, Vec<_>) = gosd
        .instances(service)
        .into_iter()
        .partition(|it| ejected.iter().any(|ejected| ejected.id() == it.id()));
    let first = all.iter().position(|it| it.id() == next.id());
    all.rotate_left(first.unwrap_or_default());
    all.extend(out);
    Ok(all)
}

async fn addresses_of(
    instance: &Instance,
) -> Result<Vec<SocketAddr>, Box<dyn StdError + Send + Sync>> {
    let url = Url::parse(instance.url())?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        let message = format!("{} is registered without a host or a port", instance.id());
        return Err(Error::new(ErrorKind::Data, message).into());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}
