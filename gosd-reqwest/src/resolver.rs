//! A resolver that looks services up by name, instead of DNS.

use std::collections::HashSet;
use std::sync::Arc;

use gosd_core::{Client, Error, Instance, InstanceId};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::addresses;

/// A resolver for which the host of a URL is the name of a service, as in `https://orders/7`, without a port.
/// It balances connections, and not requests.
///
/// Use this for certificates that name the service, and for libraries that take a [`reqwest::Client`] and make
/// requests themselves. Everywhere else use [`SendBy`](crate::SendBy): reqwest keeps connections and reuses
/// them, so requests go where a connection exists, and with HTTP/2 all go over one. A new connection goes to
/// the next instance in turn, or to others if it cannot be made, and never to a drained one. Failures are not
/// [reported](Client::report), and nothing is sent again. The host names of the instances are looked up side
/// by side; one that is not found 250 ms after the first address is left out of that connection.
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
            let instances = in_turn(&gosd, name.as_str()).await?;
            let addresses = addresses::of(instances, async |host, port| {
                Ok(lookup_host((host, port)).await?.collect())
            });
            Ok(Box::new(addresses.await?.into_iter()) as Addrs)
        })
    }
}

/// The instances of a service, from the next in turn on. Those that have failed lately come last.
///
/// Those that are drained are left out, even where all others fail: a turn passes them over, too, because
/// somebody wants no requests there, while failures may be over.
async fn in_turn(gosd: &Client, service: &str) -> Result<Vec<Arc<Instance>>, Error> {
    let next = gosd.next(service).await?;
    let (ejected, drained) = (ids(&gosd.ejected()), ids(&gosd.drained()));
    let mut all = gosd.instances(service);
    all.retain(|it| !drained.contains(it.id()));
    let (out, mut all): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|it| ejected.contains(it.id()));
    let first = all.iter().position(|it| it.id() == next.id());
    all.rotate_left(first.unwrap_or_default());
    all.extend(out);
    if all.is_empty() {
        // The last instance has left or was drained since its turn was taken.
        all.push(next);
    }
    Ok(all)
}

fn ids(instances: &[Arc<Instance>]) -> HashSet<InstanceId> {
    instances.iter().map(|it| it.id().clone()).collect()
}
