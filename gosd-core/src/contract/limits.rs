//! The limits of what may be registered, checked before any I/O; the address in a URL; and the form of values in
//! error messages.

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use super::address::{UrlParts, is_loopback, is_wildcard, join_host, split_host, split_url};
use super::{Error, Result};

const MAX_SERVICE: usize = 128;
const MAX_NAMESPACE: usize = 64;
const MAX_ID: usize = 200;
const MAX_URL: usize = 2_048;
const MAX_METADATA_KEYS: usize = 32;
const MAX_METADATA_BYTES: usize = 8 * 1_024;

/// Checks the name of a service: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
///
/// # Errors
///
/// [`ErrorKind::Config`](super::ErrorKind::Config), naming the value and the rule.
pub fn check_service(name: &str) -> Result<()> {
    check_name("service name", name, MAX_SERVICE)
}

/// Whether a service's name is reserved for gosd, because it starts with `gosd.`.
pub(crate) fn is_reserved(service: &str) -> bool {
    service.starts_with("gosd.")
}

/// Checks that a service's name is not reserved for gosd.
pub(crate) fn check_not_reserved(service: &str) -> Result<()> {
    match is_reserved(service) {
        false => Ok(()),
        true => Err(Error::config(format!(
            "the service name {} starts with \"gosd.\", which is reserved for gosd itself",
            shown(service)
        ))),
    }
}

/// Checks a namespace: 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
///
/// # Errors
///
/// [`ErrorKind::Config`](super::ErrorKind::Config), naming the value and the rule.
pub fn check_namespace(name: &str) -> Result<()> {
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
    let Some(parts) = split_url(url).filter(|parts| is_scheme(parts.scheme)) else {
        return fail(
            "is not absolute; expected scheme://host, such as http://10.0.0.7:8885".into(),
        );
    };
    let scheme = parts.scheme;
    match split_host(parts.address) {
        Err(problem) => fail(format!("{problem}; expected {scheme}://host[:port]")),
        Ok((host, _)) if is_wildcard(host) => fail(format!(
            "has the host {host}, which means every address of this host and is none that others can \
             reach; give the address or the name under which they reach this service, such as \
             {scheme}://10.0.0.7:8885"
        )),
        Ok((_, Some(0))) => fail(
            "has the port 0, which asks for any free port; bind the listener first and give the port \
             that it got"
                .into(),
        ),
        Ok(_) => Ok(()),
    }
}

/// Whether two URLs are the same address: a slash at the end of the path makes no difference.
#[cfg(feature = "client")]
pub(crate) fn is_same_address(one: &str, other: &str) -> bool {
    fn bare(url: &str) -> &str {
        if url.contains(['?', '#']) { url } else { url.strip_suffix('/').unwrap_or(url) }
    }
    bare(one) == bare(other)
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

/// Whether a text can be the scheme of a URL.
pub fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// A value as text for a message: without possible secrets, quoted, escaped and cut to a readable length.
///
/// A possible secret is everything between the scheme, if there is one, and the last `@`, because a password
/// may contain any character; and everything after a `?`.
///
/// ```
/// use gosd_core::limits::shown;
///
/// assert_eq!(shown("http://svc:s/crit@host:99999/a?token=1"), r#""http://***@host:99999/a?***""#);
/// ```
pub fn shown(value: &str) -> String {
    const MAX: usize = 80;
    let value = without_secrets(value);
    match value.char_indices().nth(MAX) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}...", &value[..end]),
    }
}

/// A text that may be a URL, without its user, password and query.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => text.split_at(scheme.len() + "://".len()),
        _ => ("", text),
    };
    let (secret, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    if secret.is_empty() && query.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{scheme}{secret}{rest}{query}"))
}

#[cfg(test)]
mod tests {
    use super::super::ErrorKind;
    use super::*;

    #[test]
    fn names_outside_the_limits_are_refused() {
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
    fn urls_outside_the_limits_are_refused() {
        let long = format!("http://h/{}", "x".repeat(2_048 - 9));
        for good in [
            "http://h",
            "http://10.0.0.7:8885",
            "https://[::1]:8443/a?b#c",
            "http://[fe80::1%25eth0]/",
            "grpc+tls://a.b-c_d:1",
            "tcp://h:1",
            "http://0.0.0.1",
            "http://[::1]",
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
    fn the_error_of_an_unreachable_host_says_what_to_give_instead() {
        for (url, instead) in [
            ("http://0.0.0.0:8885", "give the address or the name"),
            ("http://0.0.0.0", "http://10.0.0.7:8885"),
            ("grpc://[::]:1/a", "grpc://10.0.0.7:8885"),
            ("http://[0:0:0:0:0:0:0:0]:1", "give the address"),
            ("http://[::ffff:0.0.0.0]:1", "give the address"),
            ("http://*:1", "give the address"),
            ("http://0:1", "give the address"),
            ("http://h:0", "give the port"),
            ("http://h:000/a", "give the port"),
        ] {
            let error = check_url(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(instead), "{error}");
        }
    }

    #[test]
    fn no_error_shows_a_possible_secret() {
        for url in [
            "http://svc:sesame@:80",
            "http://svc:sesame@host:99999",
            "svc:sesame@host:80",
            "http://svc:sesame@a b/",
            "http://svc:sesame/sesame?sesame#sesame@host:x",
            "http://svc:sesame@@host:x",
            "http://svc:x://sesame@host:x",
            "http://host:x/?token=sesame",
            "http://svc:sesame@0.0.0.0:1",
            "http://svc:sesame@host:0",
            "sesame@",
            "http://svc:sesame@host\n",
        ] {
            let long = format!("{url}/{}", "x".repeat(3_000));
            let errors =
                [check_url(url), check_service(url), check_namespace(url), check_url(&long)];
            for error in errors.map(|judged| judged.unwrap_err()) {
                let text = format!("{error} {error:?}");
                assert!(!text.contains("sesame"), "{url}: {text}");
            }
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        assert!(
            is_same_address("http://h", "http://h/") && is_same_address("http://h", "http://h")
        );
        assert!(is_same_address("http://h/a/", "http://h/a"));
        assert!(!is_same_address("http://h/?a=/", "http://h/?a=") && !is_same_address("a", "b"));
        assert!(!is_same_address("http://h//", "http://h"));
    }

    #[test]
    fn metadata_outside_the_limits_is_refused() {
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
