//! The address in the URL of a service: where it stands, and what kind of host it names.
//!
//! All of it goes by the text alone, and looks no name up.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The parts of an absolute URL, such as that of an instance, as they stand in it.
///
/// `Debug` shows the scheme and the address alone, for a secret may be in each of the others.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrlParts<'a> {
    /// What stands before the `://`.
    pub scheme: &'a str,
    /// The user and the password, without the `@` behind them.
    pub user_info: Option<&'a str>,
    /// The host and the port, for [`split_host`].
    pub address: &'a str,
    /// The path, the query and the fragment, each with the character that begins it; empty if there is none.
    pub rest: &'a str,
}

/// Splits an absolute URL into its parts; `None` if it has no `://`.
///
/// No part is judged, so that also a URL which nobody could connect to is split.
///
/// ```
/// use gosd_core::limits::{split_host, split_url};
///
/// let parts = split_url("http://svc:sesame@[fd00::7]:8885/api?v=2").expect("it is absolute");
/// assert_eq!((parts.scheme, parts.address, parts.rest), ("http", "[fd00::7]:8885", "/api?v=2"));
/// assert_eq!(parts.user_info, Some("svc:sesame"));
/// assert_eq!(split_host(parts.address), Ok(("fd00::7", Some(8885))));
/// ```
pub fn split_url(url: &str) -> Option<UrlParts<'_>> {
    let (scheme, after) = url.split_once("://")?;
    let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
    // A password may contain an unescaped `@`: the last one ends it.
    let (user_info, address) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some((user_info, address)) => (Some(user_info), address),
    };
    Some(UrlParts { scheme, user_info, address, rest })
}

impl fmt::Debug for UrlParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_struct("UrlParts");
        parts.field("scheme", &self.scheme).field("address", &self.address).finish_non_exhaustive()
    }
}

/// Splits `host[:port]`, with an IPv6 literal in brackets, which the returned host lacks.
///
/// # Errors
///
/// What is wrong, to be put after the name of the value: `has no host`.
pub fn split_host(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (literal, after) = rest.split_once(']').ok_or("has an IPv6 literal without its ]")?;
        // A zone, as in fe80::1%eth0, is for the operating system to check.
        let address = literal.split_once('%').map_or(literal, |(address, _)| address);
        address.parse::<Ipv6Addr>().map_err(|_| "has a bad IPv6 literal")?;
        match after.strip_prefix(':') {
            None if after.is_empty() => (literal, None),
            None => return Err("has text between the ] and the port"),
            Some(port) => (literal, Some(port)),
        }
    } else {
        match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(port)),
        }
    };
    if host.is_empty() {
        return Err("has no host");
    }
    if host.contains(|c: char| c.is_whitespace() || "\"<>\\^`{|}".contains(c)) {
        return Err("has a host with a character that no host name has");
    }
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse().map_err(|_| "has a port that is not 0 to 65535")?)
        }
        Some(_) => return Err("has a port that is not a number"),
    };
    Ok((host, port))
}

/// A host and a port as they stand in a URL, where an IPv6 literal has brackets.
///
/// ```
/// use gosd_core::limits::join_host;
///
/// assert_eq!(join_host("10.0.0.7", 8885), "10.0.0.7:8885");
/// assert_eq!(join_host("fd00::7", 8885), "[fd00::7]:8885");
/// ```
pub fn join_host(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a host is `localhost` or a loopback address, so that only its own machine reaches it.
///
/// Like all functions here that take one, this takes an IPv6 literal without brackets, as [`split_host`] returns it.
///
/// ```
/// use gosd_core::limits::is_loopback;
///
/// assert!(is_loopback("LocalHost") && is_loopback("127.0.0.2") && is_loopback("::1"));
/// assert!(is_loopback("::ffff:127.0.0.1")); // the same by IPv6
/// assert!(!is_loopback("10.0.0.7") && !is_loopback("localhost.example"));
/// ```
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || literal(host).is_some_and(|address| address.is_loopback())
}

/// Whether a host stands for all addresses of its machine, in any of the possible forms.
///
/// Such a host is one to listen at, and none to connect to.
///
/// ```
/// use gosd_core::limits::is_wildcard;
///
/// assert!(is_wildcard("0.0.0.0") && is_wildcard("::") && is_wildcard("*"));
/// assert!(!is_wildcard("10.0.0.7"));
/// ```
pub fn is_wildcard(host: &str) -> bool {
    matches!(host, "*" | "0") || literal(host).is_some_and(|address| address.is_unspecified())
}

/// The address that a host is; an IPv4 address that is written as one of IPv6 is the IPv4 address.
fn literal(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_where_its_host_begins_and_ends() {
        for (url, user_info, address, rest) in [
            ("http://h", None, "h", ""),
            ("http://h:1/a?b#c", None, "h:1", "/a?b#c"),
            ("http://h?b/c", None, "h", "?b/c"),
            ("http://h#c?b", None, "h", "#c?b"),
            ("http://u:p@[::1]:1/", Some("u:p"), "[::1]:1", "/"),
            ("http://u:p@q@h", Some("u:p@q"), "h", ""),
            ("http://@h/a@b", Some(""), "h", "/a@b"),
            ("http://h/?to=x://y@z", None, "h", "/?to=x://y@z"),
            // What is wrong is not for this to judge.
            ("http://u:p@h:fake", Some("u:p"), "h:fake", ""),
            ("http://", None, "", ""),
        ] {
            let parts = UrlParts { scheme: "http", user_info, address, rest };
            assert_eq!(split_url(url), Some(parts), "{url}");
        }
        assert_eq!(split_url("svc:sesame@h:1"), None);
    }

    #[test]
    fn no_secret_is_shown() {
        let text = format!("{:?}", split_url("http://svc:sesame@h/sesame?sesame#sesame").unwrap());
        assert!(!text.contains("sesame") && text.contains("\"h\""), "{text}");
    }

    #[test]
    fn what_is_split_is_joined_again() {
        for text in ["h:1", "10.0.0.7:80", "[::1]:7", "[fe80::1%eth0]:7"] {
            let (host, port) = split_host(text).unwrap();
            assert_eq!(join_host(host, port.unwrap()), text);
        }
    }

    #[test]
    fn a_host_is_judged_in_each_of_its_forms() {
        for host in ["*", "0", "0.0.0.0", "::", "0:0::0", "::ffff:0.0.0.0"] {
            assert!(is_wildcard(host) && !is_loopback(host), "{host}");
        }
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
        {
            assert!(is_loopback(host) && !is_wildcard(host), "{host}");
        }
        for host in ["10.0.0.7", "h", "fd00::1", "00", "", "localhost.example", "[::1]"] {
            assert!(!is_loopback(host) && !is_wildcard(host), "{host}");
        }
    }
}
