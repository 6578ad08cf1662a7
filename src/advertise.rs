//! The URL under which other hosts reach what this process listens on.
//!
//! A host has several addresses, and nothing says which of them others can reach. All hosts that share a
//! registry reach its database, so the address from which this host reaches the database is one that they can
//! reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use gosd_core::limits::{is_loopback, shown, split_host, split_url};
use gosd_core::{DriverUrl, Result};
use tracing::info;

use crate::drivers::config;
use crate::env::{self, Lookup};

/// The host of a driver URL that names none, for each scheme.
const LOCAL: &str = "localhost";

/// Finds out which of this host's addresses faces a host and port.
type Facing<'a> = &'a dyn Fn(&str, u16) -> io::Result<IpAddr>;

pub(crate) fn advertise(
    bound: SocketAddr,
    lookup: Lookup<'_>,
    default: Option<&str>,
) -> Result<String> {
    let url = decide(bound, lookup, default, &facing)?;
    info!(%bound, url = %shown(&url), "the address that others are told");
    Ok(url)
}

/// Returns an error if the URL cannot be reached from other hosts, although the database is on another host.
pub(crate) fn check(url: &str, lookup: Lookup<'_>, driver_url: &str) -> Result<()> {
    judge(url, lookup, driver_url, &is_here)
}

fn judge(
    url: &str,
    lookup: Lookup<'_>,
    driver_url: &str,
    is_here: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let Some(host) = host_of(url).filter(|host| is_loopback(host)) else { return Ok(()) };
    let asked_for = env::advertise(lookup)?.is_some_and(|text| text.contains(host));
    if asked_for || database(driver_url).is_none_or(|(host, _)| is_here(&host)) {
        return Ok(());
    }
    Err(config(format!(
        "{host} is reached from this host alone, and the database is on another one: register an \
         address that others reach, such as gosd::advertise gives, or set gosdAdvertise={host} if \
         everybody is on this host"
    )))
}

fn decide(
    bound: SocketAddr,
    lookup: Lookup<'_>,
    default: Option<&str>,
    facing: Facing<'_>,
) -> Result<String> {
    let (ip, port) = (bound.ip().to_canonical(), bound.port());
    if port == 0 {
        return Err(config(format!(
            "{bound} is no address of a listener: bind it first, and give what `local_addr` says"
        )));
    }
    // Of two databases, the first that is on a host counts, because all who share the registry reach that
    // host.
    let database = env::databases(lookup, default)?.iter().find_map(|(_, url)| database(url));
    // A database without a host is a file or a socket, and all its clients are on this host.
    let seen_from_there = || match &database {
        None if ip.is_ipv4() => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        None => Ok(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        Some((host, port)) => facing(host, *port).map_err(|error| {
            config(format!(
                "cannot find out which address of this host faces {host}: {error}; set \
                 gosdAdvertise to the host, or the URL, under which others reach this service"
            ))
        }),
    };
    let advertised = || if ip.is_unspecified() { seen_from_there() } else { Ok(ip) };
    match env::advertise(lookup)? {
        Some(text) => filled_in(&text, port, advertised),
        None => {
            let url = format!("http://{}", SocketAddr::new(advertised()?, port));
            if ip.is_loopback() && database.is_some_and(|(host, _)| !is_loopback(&host)) {
                return Err(config(format!(
                    "the listener is bound to {bound}, which nobody on another host reaches: bind \
                     0.0.0.0:{port}, or set gosdAdvertise=localhost if everybody is on this host"
                )));
            }
            Ok(url)
        }
    }
}

/// The URL that `gosdAdvertise` asks for, which contains a URL, or a host with or without a port.
fn filled_in(text: &str, port: u16, ip: impl FnOnce() -> Result<IpAddr>) -> Result<String> {
    let mut url = text.replace("{port}", &port.to_string());
    if url.contains("{ip}") {
        url = url.replace("{ip}", &in_url(ip()?));
    }
    if url.contains("{hostname}") {
        url = url.replace("{hostname}", &hostname()?);
    }
    if url.contains("://") {
        return Ok(url);
    }
    let host = match url.parse::<IpAddr>() {
        Ok(ip) => in_url(ip),
        // Behind a host, a path would be taken for a part of it, and the port would go to the end of both.
        Err(_) if !env::is_address(&url) => return Err(env::bad_advertise(text)),
        Err(_) => url,
    };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { format!("http://{host}") } else { format!("http://{host}:{port}") })
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The host and port of the database; `None` if it is a file or a socket on this host.
fn database(url: &str) -> Option<(String, u16)> {
    let url = DriverUrl::parse(url).ok()?;
    if url.scheme() == "sqlite" || url.scheme().ends_with("+unix") {
        return None;
    }
    let (host, port) = match url.hosts().first() {
        Some((host, port)) => (host.as_str(), *port),
        None => (LOCAL, None),
    };
    // No packet is sent, so any port will do.
    Some((host.to_owned(), port.unwrap_or(1)))
}

/// Asks the kernel from which address it would send. Nothing is sent.
fn facing(host: &str, port: u16) -> io::Result<IpAddr> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let found = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(address)?;
            socket.local_addr()
        });
        match found {
            Ok(local) => return Ok(local.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn host_of(url: &str) -> Option<&str> {
    let (host, _) = split_host(split_url(url)?.address).ok()?;
    Some(host)
}

/// Whether a host is this one, because one of its addresses is on loopback.
fn is_here(host: &str) -> bool {
    let is_any_loopback = || {
        let addresses = (host, 1).to_socket_addrs();
        addresses.is_ok_and(|mut all| all.any(|address| address.ip().to_canonical().is_loopback()))
    };
    is_loopback(host) || is_any_loopback()
}

#[cfg(unix)]
fn hostname() -> Result<String> {
    let name = rustix::system::uname().nodename().to_str().map(ToOwned::to_owned);
    name.map_err(|_| config("gosdAdvertise has {hostname}, and this host's is not Unicode"))
}

#[cfg(not(unix))]
fn hostname() -> Result<String> {
    let name = env::process("COMPUTERNAME").and_then(|name| name.into_string().ok());
    name.ok_or_else(|| config("gosdAdvertise has {hostname}, and this host has none"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use super::*;

    fn lookup(vars: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + Sync {
        let vars: HashMap<String, OsString> =
            vars.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        move |name| vars.get(name).cloned()
    }

    /// The advertised URL on a host that has this address towards every other host.
    fn told(bound: &str, vars: &[(&str, &str)]) -> Result<String> {
        let facing = |host: &str, _| match host {
            "nowhere" => Err(io::Error::other("no route")),
            "::1" => Ok(Ipv6Addr::LOCALHOST.into()),
            LOCAL | "127.0.0.1" => Ok(Ipv4Addr::LOCALHOST.into()),
            _ => Ok([10, 0, 0, 7].into()),
        };
        decide(bound.parse().unwrap(), &lookup(vars), Some("sqlite"), &facing)
    }

    #[test]
    fn the_bound_address_or_the_one_that_faces_the_database_is_advertised() {
        let redis = ("gosdDriver", "redis://db.example:6379");
        let far = "http://10.0.0.7:8885";
        for (bound, vars, url) in [
            ("0.0.0.0:8885", &[redis][..], far),
            ("[::]:8885", &[redis], far),
            ("0.0.0.0:8885", &[("gosdDriver", "etcd://a:2379,b:2379")], far),
            ("0.0.0.0:8885", &[("gosdDriver", "http://registry/")], far),
            ("0.0.0.0:8885", &[("gosdRedisAddr", "db.example")], far),
            ("10.1.1.1:8885", &[redis], "http://10.1.1.1:8885"),
            ("[fd00::1]:8885", &[redis], "http://[fd00::1]:8885"),
            ("[::ffff:10.1.1.1]:8885", &[redis], "http://10.1.1.1:8885"),
            ("[::ffff:0.0.0.0]:8885", &[redis], far),
            // Where the database is a file or on this host, so are all services.
            ("0.0.0.0:8885", &[], "http://127.0.0.1:8885"),
            ("[::]:8885", &[("gosdDriver", "sqlite:x.db")], "http://[::1]:8885"),
            ("0.0.0.0:8885", &[("gosdDriver", "redis")], "http://127.0.0.1:8885"),
            ("127.0.0.1:8885", &[("gosdDriver", "redis://[::1]")], "http://127.0.0.1:8885"),
            ("127.0.0.1:8885", &[], "http://127.0.0.1:8885"),
        ] {
            assert_eq!(told(bound, vars).unwrap(), url, "{bound} {vars:?}");
        }
    }

    #[test]
    fn the_variable_replaces_the_address() {
        for (text, url) in [
            ("orders.example", "http://orders.example:8885"),
            ("orders.example:80", "http://orders.example:80"),
            ("localhost", "http://localhost:8885"),
            ("10.0.0.9", "http://10.0.0.9:8885"),
            ("fd00::9", "http://[fd00::9]:8885"),
            ("[fd00::9]:80", "http://[fd00::9]:80"),
            ("https://orders.example/api", "https://orders.example/api"),
            ("https://{ip}:{port}/x", "https://10.0.0.7:8885/x"),
            ("{ip}", "http://10.0.0.7:8885"),
        ] {
            let vars = [("gosdAdvertise", text), ("gosdDriver", "redis://db.example")];
            assert_eq!(told("0.0.0.0:8885", &vars).unwrap(), url, "{text}");
        }
        let vars = [("gosdAdvertise", "grpc://{hostname}:1")];
        let url = told("0.0.0.0:8885", &vars).unwrap();
        assert!(url.len() > "grpc://:1".len() && !url.contains('{'), "{url}");
    }

    #[test]
    fn what_is_neither_a_host_nor_a_url_is_an_error_that_names_the_variable() {
        for text in
            ["orders.example/api", "orders.example:x", "h:99999", "u@h", "{ip}/x", "h:{port}0000"]
        {
            let vars = [("gosdAdvertise", text), ("gosdDriver", "redis://db.example")];
            let error = told("0.0.0.0:8885", &vars).unwrap_err();
            assert_eq!(error.kind(), gosd_core::ErrorKind::Config);
            assert!(error.to_string().starts_with("gosdAdvertise is "), "{error}");
        }
    }

    #[test]
    fn an_address_that_others_cannot_reach_is_an_error() {
        let far = ("gosdDriver", "redis://db.example");
        for (bound, vars, hint) in [
            ("0.0.0.0:0", &[far][..], "local_addr"),
            ("127.0.0.1:8885", &[far], "gosdAdvertise=localhost"),
            ("[::1]:8885", &[far], "gosdAdvertise=localhost"),
            ("[::ffff:127.0.0.1]:8885", &[far], "gosdAdvertise=localhost"),
            ("0.0.0.0:8885", &[("gosdDriver", "redis://nowhere")], "set gosdAdvertise"),
        ] {
            let error = told(bound, vars).unwrap_err();
            assert_eq!(error.kind(), gosd_core::ErrorKind::Config);
            assert!(error.to_string().contains(hint), "{error}");
        }
    }

    #[test]
    fn loopback_is_registered_elsewhere_only_if_asked_for() {
        for (url, driver, vars, fine) in [
            ("http://127.0.0.1:1", "redis://db.example", &[][..], false),
            ("http://user@localhost:1/x", "etcd://db.example", &[], false),
            ("http://[::1]:1", "http://db.example", &[], false),
            ("http://[::ffff:127.0.0.1]:1", "redis://db.example", &[], false),
            ("http://[::ffff:127.0.0.1]:1", "redis://[::ffff:127.0.0.1]", &[], true),
            ("http://10.0.0.7:1", "redis://db.example", &[], true),
            ("http://127.0.0.1:1", "redis://localhost", &[], true),
            ("http://127.0.0.1:1", "redis", &[], true),
            ("http://127.0.0.1:1", "redis://alias", &[], true),
            ("http://127.0.0.1:1", "sqlite:x", &[], true),
            ("http://localhost:1", "redis://db.example", &[("gosdAdvertise", "localhost")], true),
        ] {
            // A name that stands for this host only by its addresses.
            let is_here = |host: &str| host == "alias" || is_loopback(host);
            let checked = judge(url, &lookup(vars), driver, &is_here);
            assert_eq!(checked.is_ok(), fine, "{url} {driver} {vars:?}");
        }
    }

    #[test]
    fn a_name_that_resolves_to_loopback_is_this_host() {
        assert!(is_here("localhost") && is_here("127.0.0.1") && is_here("::1"));
        assert!(!is_here("192.0.2.1"));
    }

    #[test]
    fn the_kernel_tells_which_address_faces_a_host() {
        assert_eq!(facing("127.0.0.1", 9).unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
