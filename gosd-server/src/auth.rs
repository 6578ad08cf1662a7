//! Authentication: which clients are let in, and what they may do.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;

use crate::peer::Peer;
use crate::problem::{Problem, Refusal};

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The tokens that are valid. No `Debug`: they are secrets.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Vec<(Box<[u8]>, Access)>);

impl Tokens {
    pub(crate) fn add(&mut self, token: &str, access: Access) {
        self.0.push((token.as_bytes().into(), access));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a client with the token in these headers may do.
    pub(crate) fn access(&self, headers: &HeaderMap) -> Result<Access, Problem> {
        let Some(token) = bearer(headers) else {
            let detail = "a token is needed: Authorization: Bearer TOKEN";
            return Err(Problem::refused(Refusal::NoToken, detail));
        };
        // All tokens are compared, each in constant time, so that the time reveals nothing but a length.
        let mut granted = None;
        for (valid, access) in &self.0 {
            if bool::from(valid.ct_eq(token)) {
                granted = granted.max(Some(*access));
            }
        }
        granted.ok_or_else(|| Problem::refused(Refusal::BadToken, "the token is not valid"))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Without tokens, accepts only clients on this host whose `Host` names this host (DNS rebinding).
///
/// A web page can make a browser on this host send requests here. They come under a foreign name, which is
/// then in `Host`, or from a foreign origin, which browsers send in `Sec-Fetch-Site` or `Origin`. No browser
/// can use a Unix socket, and the permissions of the socket's file have let its clients in.
///
/// A link from another page may lead here, because that page sees nothing of the answer.
pub(crate) fn check_local(
    peer: Peer,
    headers: &HeaderMap,
    may_be_linked_to: bool,
) -> Result<(), Problem> {
    let is_visit = may_be_linked_to
        && headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate")
        && headers.get(SEC_FETCH_DEST).is_some_and(|dest| dest == "document");
    let refuse = |detail| Err(Problem::refused(Refusal::NotLocal, detail));
    match peer {
        Peer::Unknown => refuse("no token is configured, and the client's address is not known"),
        Peer::Address(ip) if !ip.is_loopback() => {
            refuse("no token is configured, so only clients on the server's host are let in")
        }
        Peer::Address(_) if !headers.get(HOST).is_some_and(|host| is_local(host.as_bytes())) => {
            refuse("no token is configured, so Host must be localhost or a loopback address")
        }
        Peer::Address(_) if !is_visit && is_of_foreign_page(headers) => {
            refuse("no token is configured, so pages of other origins are not let in")
        }
        Peer::Address(_) | Peer::User(_) => Ok(()),
    }
}

fn is_of_foreign_page(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
    let is_local_origin = |origin: &[u8]| {
        let host = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        host.is_some_and(is_local)
    };
    site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
        || origin.is_some_and(|origin| !is_local_origin(origin))
}

fn is_local(host: &[u8]) -> bool {
    let Ok(host) = str::from_utf8(host) else { return false };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, port),
        _ => (host, "0"),
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    port.parse::<u16>().is_ok()
        && (name.eq_ignore_ascii_case("localhost")
            || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn tokens_are_compared_whole() {
        let mut tokens = Tokens::default();
        tokens.add("old-token", Access::Write);
        tokens.add("new-token", Access::Write);
        tokens.add("eye", Access::Read);
        let access = |value| tokens.access(&headers(AUTHORIZATION, value)).ok();
        assert_eq!(access("Bearer old-token"), Some(Access::Write));
        assert_eq!(access("bearer new-token"), Some(Access::Write));
        assert_eq!(access("Bearer eye"), Some(Access::Read));
        for value in
            ["Bearer ", "Bearer old-toke", "Bearer old-token ", "Basic eye", "eye", "Bearer"]
        {
            assert_eq!(access(value), None, "{value}");
        }
        assert!(tokens.access(&HeaderMap::new()).is_err());
    }

    #[test]
    fn without_tokens_only_this_host_is_let_in() {
        let peer = |text: &str| Peer::from(text.parse::<SocketAddr>().unwrap());
        let check = |address: Option<&str>, host: &str| {
            check_local(address.map_or(Peer::Unknown, peer), &headers(HOST, host), false).is_ok()
        };
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:4673", "127.0.0.2", "[::1]", "[::1]:1"]
        {
            assert!(check(Some("127.0.0.1:5000"), host), "{host}");
            assert!(check(Some("[::ffff:127.0.0.1]:5000"), host), "{host}");
            assert!(!check(Some("10.0.0.7:5000"), host), "{host}");
            assert!(!check(None, host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "10.0.0.7", "localhost:80x", "[::2]"]
        {
            assert!(!check(Some("[::1]:5000"), host), "{host}");
        }
        assert!(check_local(peer("[::1]:5"), &HeaderMap::new(), false).is_err());
        assert!(check_local(Peer::User(1_000), &HeaderMap::new(), false).is_ok());
    }

    #[test]
    fn without_tokens_no_page_of_another_origin_is_let_in() {
        let local = Peer::Address([127, 0, 0, 1].into());
        for (name, value, is_let_in) in [
            (SEC_FETCH_SITE, "none", true),
            (SEC_FETCH_SITE, "same-origin", true),
            (SEC_FETCH_SITE, "same-site", false),
            (SEC_FETCH_SITE, "cross-site", false),
            (ORIGIN, "http://localhost:3000", true),
            (ORIGIN, "https://evil.example", false),
            (ORIGIN, "null", false),
        ] {
            let mut headers = headers(name.clone(), value);
            headers.insert(HOST, "localhost".parse().unwrap());
            assert_eq!(check_local(local, &headers, false).is_ok(), is_let_in, "{name}: {value}");
        }
    }
}
