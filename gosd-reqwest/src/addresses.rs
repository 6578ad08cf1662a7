//! The addresses of instances, whose host names are looked up side by side.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use gosd_core::{Error, ErrorKind, Instance, Result};
use reqwest::Url;
use tokio::time::{Instant, timeout_at};

/// How many host names are looked up at the same time: each takes a thread, and a service may have thousands.
const AT_ONCE: usize = 16;

/// How long the host names are waited for while no address is known.
const LONGEST: Duration = Duration::from_secs(10);

/// How long the other host names are waited for once an address is known, so that one that is slow to look up does
/// not hold up connections to the other instances.
const ONCE_ANY_IS_KNOWN: Duration = Duration::from_millis(250);

/// The addresses of the instances, in the order of the instances. Instances whose addresses are not found in
/// time are left out.
///
/// `lookup` looks up the addresses of a host name.
pub(crate) async fn of<L, F>(instances: Vec<Arc<Instance>>, lookup: L) -> Result<Vec<SocketAddr>>
where
    L: Fn(String, u16) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut found = BTreeMap::new();
    let mut names = Vec::new();
    let mut failure = None;
    for (place, instance) in instances.into_iter().enumerate() {
        match host_and_port(&instance) {
            Ok((host, port)) => match host.parse::<IpAddr>() {
                Ok(address) => drop(found.insert(place, vec![SocketAddr::new(address, port)])),
                Err(_) => names.push((place, instance, host, port)),
            },
            Err(error) => failure = Some(error),
        }
    }
    let lookups = names.into_iter().map(|(place, instance, host, port)| {
        let addresses = lookup(host.clone(), port);
        async move {
            let addresses = addresses.await.map_err(|error| {
                let message = format!("{host:?}, the host of {}, was not found", instance.id());
                Error::new(ErrorKind::Unavailable, message).caused_by(error)
            });
            (place, addresses)
        }
    });
    let mut lookups = stream::iter(lookups).buffer_unordered(AT_ONCE);
    let mut end = Instant::now() + LONGEST;
    loop {
        if !found.is_empty() {
            end = end.min(Instant::now() + ONCE_ANY_IS_KNOWN);
        }
        match timeout_at(end, lookups.next()).await {
            Ok(Some((place, Ok(addresses)))) => drop(found.insert(place, addresses)),
            Ok(Some((_, Err(error)))) => failure = Some(error),
            Ok(None) => break,
            Err(_) => {
                let message = format!(
                    "none of the instances has a host that was found within {LONGEST:?}; is the DNS \
                     server up?"
                );
                failure = Some(Error::new(ErrorKind::Timeout, message));
                break;
            }
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found.into_values().flatten().collect()),
    }
}

fn host_and_port(instance: &Instance) -> Result<(String, u16)> {
    let data = |what: &str| {
        let message = format!("{} is registered with a URL that {what}", instance.id());
        Error::new(ErrorKind::Data, message)
    };
    let url = Url::parse(instance.url()).map_err(|error| data(&format!("is none: {error}")))?;
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => {
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        _ => Err(data("lacks a host or a port")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    /// Looks up a name as it says itself: `silent`, `unknown`, or after how many ms it is found.
    async fn as_it_says(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &*host {
            "silent" => pending().await,
            "unknown" => Err(io::Error::other("no such host")),
            _ => {
                let ms = host.trim_start_matches("after-").parse().unwrap();
                sleep(Duration::from_millis(ms)).await;
                Ok(vec![SocketAddr::new([127, 0, 0, 1].into(), port)])
            }
        }
    }

    /// The ports of the addresses of instances with these URLs, and after how many ms they are found.
    async fn ports(urls: &[&str]) -> (Result<Vec<u16>>, u128) {
        let instances = urls.iter().map(|url| {
            Arc::new(Instance::from_parts("orders-1".into(), "orders", url, BTreeMap::new()))
        });
        let started = Instant::now();
        let found = of(instances.collect(), as_it_says).await;
        let ports = found.map(|found| found.iter().map(SocketAddr::port).collect());
        (ports, started.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_order_is_that_of_the_instances() {
        let urls =
            ["http://after-200:1", "http://10.0.0.7:2", "tcp://after-100:3", "http://[::1]:4"];
        let (found, took) = ports(&urls).await;
        assert_eq!((found.unwrap(), took), (vec![1, 2, 3, 4], 200));
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_is_not_found_in_time_holds_no_other_up() {
        for (urls, found, took) in [
            (["http://silent:1", "http://10.0.0.7:2"], 2, 250),
            (["http://silent:1", "http://after-9:2"], 2, 259),
            (["http://after-9:1", "http://silent:2"], 1, 259),
            (["http://unknown:1", "http://after-9:2"], 2, 9),
            (["localhost:3333", "http://after-9:2"], 2, 9),
            (["any text", "http://after-5000:2"], 2, 5_000),
        ] {
            let (ports, after) = ports(&urls).await;
            assert_eq!((ports.unwrap(), after), (vec![found], took), "{urls:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_found_the_error_says_why() {
        for (url, kind, took) in [
            ("http://silent:1", ErrorKind::Timeout, 10_000),
            ("http://unknown:1", ErrorKind::Unavailable, 0),
            ("svc:sesame@host:1", ErrorKind::Data, 0),
            ("any sesame", ErrorKind::Data, 0),
        ] {
            let (ports, after) = ports(&[url]).await;
            let error = ports.unwrap_err();
            assert_eq!((error.kind(), after), (kind, took), "{error}");
            assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_are_looked_up_a_few_at_a_time() {
        let (found, took) = ports(&["http://after-100:1"; 3 * AT_ONCE]).await;
        assert_eq!((found.unwrap().len(), took), (3 * AT_ONCE, 300));
    }
}
