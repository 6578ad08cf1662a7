use std::net::SocketAddr;

use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, StatusCode};
use subtle::ConstantTimeEq;

use crate::problem::Problem;

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

    /// What the bearer of the token in the headers may do.
    pub(crate) fn access(&self, headers: &HeaderMap) -> Result<Access, Problem> {
        let Some(token) = bearer(headers) else {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "a token is needed: Authorization: Bearer TOKEN",
            ));
        };
        // All are compared, each in constant time, so that the time tells nothing but a length.
        let mut granted = None;
        for (valid, access) in &self.0 {
            if bool::from(valid.ct_eq(token)) {
                granted = granted.max(Some(*access));
            }
        }
        granted.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "the token is not valid"))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Without tokens: refuses all but the clients on this host that mean this host.
///
/// A page in a browser on this host can be made to send requests here under a foreign name, which
/// then stands in `Host`.
pub(crate) fn check_local(peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    match peer {
        None => refuse("no token is configured, and the client's address is not known"),
        Some(peer) if !peer.ip().to_canonical().is_loopback() => {
            refuse("no token is configured, so only clients on the server's host are let in")
        }
        Some(_) if !headers.get(HOST).is_some_and(|host| is_local(host.as_bytes())) => {
            refuse("no token is configured, so Host must be localhost or a loopback address")
        }
        Some(_) => Ok(()),
    }
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
            || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()))
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
    fn without_tokens_only_this_host() {
        let check = |peer: Option<&str>, host: &str| {
            check_local(peer.map(|peer| peer.parse().unwrap()), &headers(HOST, host)).is_ok()
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
        assert!(check_local(Some("[::1]:5".parse().unwrap()), &HeaderMap::new()).is_err());
    }
}
