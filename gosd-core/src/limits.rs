//! What may be registered, judged before any I/O.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::{Error, Result};

const MAX_SERVICE: usize = 128;
const MAX_NAMESPACE: usize = 64;
const MAX_ID: usize = 200;
const MAX_URL: usize = 2_048;
const MAX_METADATA_KEYS: usize = 32;
const MAX_METADATA_BYTES: usize = 8 * 1_024;

pub(crate) fn check_service(name: &str) -> Result<()> {
    check_name("service name", name, MAX_SERVICE)
}

pub(crate) fn check_namespace(name: &str) -> Result<()> {
    check_name("namespace", name, MAX_NAMESPACE)
}

fn check_name(what: &str, name: &str, max: usize) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=max).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::config(format!(
        "the {what} {} is not 1 to {max} characters of A-Z a-z 0-9 . _ -",
        shown(name)
    )))
}

pub(crate) fn check_id(id: &str) -> Result<()> {
    if (1..=MAX_ID).contains(&id.len()) && !id.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::config(format!(
        "the instance id {} is not 1 to {MAX_ID} bytes without control characters",
        shown(id)
    )))
}

pub(crate) fn check_url(url: &str) -> Result<()> {
    let fail = |rule: String| Err(Error::config(format!("the URL {} {rule}", shown(url))));
    if url.len() > MAX_URL {
        return fail(format!("has {} bytes; at most {MAX_URL} are allowed", url.len()));
    }
    if url.chars().any(char::is_control) {
        return fail("holds a control character".into());
    }
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return fail(
            "is not absolute; expected scheme://host, such as http://10.0.0.7:8885".into(),
        );
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match split_host(host) {
        Ok(_) => Ok(()),
        Err(problem) => fail(format!("{problem}; expected {scheme}://host[:port]")),
    }
}

pub(crate) fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<()> {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if metadata.len() > MAX_METADATA_KEYS {
        let len = metadata.len();
        return Err(Error::config(format!(
            "the metadata has {len} keys; at most {MAX_METADATA_KEYS} are allowed"
        )));
    }
    if bytes > MAX_METADATA_BYTES {
        return Err(Error::config(format!(
            "the metadata has {bytes} bytes; at most {MAX_METADATA_BYTES} are allowed in all"
        )));
    }
    if let Some((key, _)) = metadata.iter().find(|(k, v)| k.contains('\0') || v.contains('\0')) {
        return Err(Error::config(format!(
            "the metadata entry {} holds a NUL, which no backend can be trusted to keep",
            shown(key)
        )));
    }
    Ok(())
}

pub(crate) fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Splits `host[:port]`, where an IPv6 literal stands in brackets; says what is wrong otherwise.
pub(crate) fn split_host(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (literal, after) = rest.split_once(']').ok_or("has an IPv6 literal without its ]")?;
        // A zone, as in fe80::1%eth0, is the operating system's to judge.
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

/// The value for a message: quoted, escaped and cut to a readable length.
fn shown(value: &str) -> String {
    const MAX: usize = 80;
    match value.char_indices().nth(MAX) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}...", &value[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn names() {
        for good in ["a", "A.b_c-9", &"x".repeat(128)] {
            assert!(check_service(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "ä", "a\0", &"x".repeat(129)] {
            let error = check_service(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("1 to 128"), "{error}");
        }
        assert!(check_namespace(&"x".repeat(64)).is_ok());
        assert!(check_namespace(&"x".repeat(65)).is_err());
    }

    #[test]
    fn urls() {
        let long = format!("http://h/{}", "x".repeat(2_048 - 9));
        for good in [
            "http://h",
            "http://10.0.0.7:8885",
            "https://[::1]:8443/a?b#c",
            "http://[fe80::1%25eth0]/",
            "grpc+tls://a.b-c_d:1",
            "tcp://h:0",
            "http://h/a b/ü",
            &long,
        ] {
            assert!(check_url(good).is_ok(), "{good}: {:?}", check_url(good));
        }
        let too_long = format!("{long}x");
        for bad in [
            "",
            "h",
            "h:80",
            "/a",
            "//h",
            "://h",
            "1x://h",
            "http:/h",
            "http://",
            "http:///a",
            "http://:80",
            "http://h:fake",
            "http://h:65536",
            "http://[::1",
            "http://[x]",
            "http://[::1]80",
            "http://a b/",
            "http://h/\0",
            "http://h/\n",
            &too_long,
        ] {
            let error = check_url(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
        }
    }

    #[test]
    fn metadata() {
        let entries = |count: usize, size: usize| -> BTreeMap<String, String> {
            (0..count).map(|i| (format!("{i:02}"), "x".repeat(size))).collect()
        };
        assert!(check_metadata(&entries(32, 0)).is_ok());
        assert!(check_metadata(&entries(33, 0)).is_err());
        assert!(check_metadata(&entries(1, 8_190)).is_ok());
        assert!(check_metadata(&entries(1, 8_191)).is_err());
        assert!(check_metadata(&BTreeMap::from([("a".into(), "b\0".into())])).is_err());
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let error = check_service(&"ä".repeat(500)).unwrap_err().to_string();
        assert!(error.len() < 300, "{error}");
    }
}
