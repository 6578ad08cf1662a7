//! The URL of a driver, parsed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{Error, Result, limits};

const DEFAULT_NAMESPACE: &str = "gosd";

/// A driver's URL, parsed once for all drivers, which would otherwise each parse, redact and check it.
///
/// Three forms: `scheme://[user[:password]@]host[:port][,host[:port]...][/path][?key=value&...]`,
/// `scheme:path[?key=value&...]`, and the bare `scheme` for the driver's defaults. User, password,
/// path and query values are percent-decoded; a `/`, `?` or `%` in a password is written encoded, and
/// so are an `@` and a `#` after the hosts. `Debug` and `Display` show neither user, password nor query.
///
/// ```
/// use gosd_core::DriverUrl;
///
/// let url = DriverUrl::parse("redis://:s%40crit@a,b:7000/3?namespace=staging")?;
/// assert_eq!(url.scheme(), "redis");
/// assert_eq!(url.password(), Some("s@crit"));
/// assert_eq!(url.hosts_or("localhost", 6379), ["a:6379", "b:7000"]);
/// assert_eq!(url.path(), "3");
/// assert_eq!(url.namespace()?, "staging");
/// url.allow_keys(&["namespace"])?;
/// assert_eq!(url.to_string(), "redis://***@a,b:7000/3");
/// # Ok::<(), gosd_core::Error>(())
/// ```
#[derive(Clone)]
pub struct DriverUrl {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, Option<u16>)>,
    has_authority: bool,
    path: String,
    query: BTreeMap<String, String>,
}

/// The certificate files that the query keys `ca`, `cert` and `key` name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// Certificates to trust, in place of the usual roots (PEM).
    pub ca: Option<PathBuf>,
    /// The client's certificate and its key (PEM), for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl DriverUrl {
    /// Takes a driver's URL apart.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](super::ErrorKind::Config), saying what is wrong. The message never
    /// holds the URL's user, password or query values.
    pub fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        if !limits::is_scheme(scheme) {
            return Err(Error::config(
                "a driver URL begins with its scheme, such as sqlite:gosd.db or redis://host:6379",
            ));
        }
        let bad = |problem: &str| Error::config(format!("the {scheme} URL {problem}"));
        if rest.chars().any(char::is_control) {
            return Err(bad("holds a control character"));
        }
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                // A password may contain one, and without a host the rest is the name of a file.
                if !authority.is_empty()
                    && rest.rsplit('@').next().is_some_and(|after| after.contains('#'))
                {
                    return Err(bad(
                        "has a #, which would mean nothing; leave it out, and write one \
                                    that belongs to the name of a file as %23",
                    ));
                }
                (Some(authority), path)
            }
        };
        let has_authority = authority.is_some();
        let authority = authority.unwrap_or_default();
        let Authority { user, password, hosts } =
            Authority::parse(authority).map_err(|problem| bad(&problem))?;
        let (path, keys) = path.split_once('?').unwrap_or((path, ""));
        if keys.contains('@') || (!authority.is_empty() && path.contains('@')) {
            // The text may be the rest of a password, and errors show the path and the keys.
            return Err(bad("has an @ after its host; write a / of the password as %2F, \
                            a ? as %3F, and an @ of the path or the query as %40"));
        }
        let path = if has_authority { path.strip_prefix('/').unwrap_or(path) } else { path };
        let path = decode(path).map_err(|it| bad(&format!("has a path {it}")))?;
        let query = query(keys).map_err(|problem| bad(&problem))?;
        let scheme = scheme.to_ascii_lowercase();
        Ok(Self { scheme, user, password, hosts, has_authority, path, query })
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user, if there is one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, if there is one. A secret: show it nowhere.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Whether `//` stands after the scheme, so that what follows is a host and not a path.
    pub fn has_authority(&self) -> bool {
        self.has_authority
    }

    /// The hosts with their ports, as given; IPv6 literals without brackets.
    pub fn hosts(&self) -> &[(String, Option<u16>)] {
        &self.hosts
    }

    /// The hosts with their ports, with defaults for what is left out: never none; IPv6 literals without brackets.
    ///
    /// ```
    /// use gosd_core::DriverUrl;
    ///
    /// let url = DriverUrl::parse("redis://a,[fd00::7]:7000")?;
    /// assert_eq!(url.addresses_or("localhost", 6379), [("a".into(), 6379), ("fd00::7".into(), 7000)]);
    /// # Ok::<(), gosd_core::Error>(())
    /// ```
    pub fn addresses_or(&self, host: &str, port: u16) -> Vec<(String, u16)> {
        if self.hosts.is_empty() {
            return vec![(host.to_owned(), port)];
        }
        self.hosts.iter().map(|(host, own)| (host.clone(), own.unwrap_or(port))).collect()
    }

    /// As [`addresses_or`](Self::addresses_or), each as `host:port`, with IPv6 literals in brackets.
    pub fn hosts_or(&self, host: &str, port: u16) -> Vec<String> {
        let addresses = self.addresses_or(host, port);
        addresses.iter().map(|(host, port)| limits::join_host(host, *port)).collect()
    }

    /// The path, without the `/` that ends the hosts; empty if there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of a query key.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }

    /// Refuses every query key that is not in the list.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](super::ErrorKind::Config), naming the key and the ones there are.
    pub fn allow_keys(&self, known: &[&str]) -> Result<()> {
        match self.query.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(Error::config(format!(
                "the {} URL has the unknown query key {key:?}; known are: {}",
                self.scheme,
                known.join(", ")
            ))),
        }
    }

    /// The namespace: the query key `namespace`, or else `gosd`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](super::ErrorKind::Config) if it is not 1 to 64 characters of
    /// `A-Z a-z 0-9 . _ -`.
    pub fn namespace(&self) -> Result<&str> {
        let namespace = self.query("namespace").unwrap_or(DEFAULT_NAMESPACE);
        limits::check_namespace(namespace)?;
        Ok(namespace)
    }

    /// The certificate files: the query keys `ca`, `cert` and `key`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](super::ErrorKind::Config) if one of `cert` and `key` stands alone.
    pub fn tls_files(&self) -> Result<TlsFiles> {
        let file = |key| self.query(key).map(PathBuf::from);
        let identity = match (file("cert"), file("key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(Error::config(format!(
                    "the {} URL has one of the query keys cert and key; they go together",
                    self.scheme
                )));
            }
        };
        Ok(TlsFiles { ca: file("ca"), identity })
    }
}

/// What stands between the `//` and the path.
#[derive(Default)]
struct Authority {
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, Option<u16>)>,
}

impl Authority {
    /// The error says what is wrong, to be put after the name of the URL.
    fn parse(text: &str) -> Result<Self, String> {
        let mut authority = Self::default();
        // A password may contain an unescaped `@`: the last one ends it.
        let (user_info, hosts) = text.split_at(text.rfind('@').map_or(0, |at| at + 1));
        if let Some(user_info) = user_info.strip_suffix('@') {
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            let decode = |part| decode(part).map_err(|it| format!("has a user or password {it}"));
            authority.user = (!user.is_empty()).then(|| decode(user)).transpose()?;
            authority.password = (!password.is_empty()).then(|| decode(password)).transpose()?;
        }
        if !hosts.is_empty() {
            for host in hosts.split(',') {
                let (host, port) = limits::split_host(host)?;
                authority.hosts.push((host.to_owned(), port));
            }
        }
        Ok(authority)
    }
}

/// The keys and values of a query. The error says what is wrong, to be put after the name of the URL.
fn query(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut query = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("has a query key without a value")?;
        let value = decode(value).map_err(|it| format!("has a query value {it}"))?;
        if value.is_empty() {
            return Err(format!("has an empty value for the query key {key:?}"));
        }
        if query.insert(key.to_owned(), value).is_some() {
            return Err(format!("has the query key {key:?} twice"));
        }
    }
    Ok(query)
}

/// Decodes a part of the URL. The error says what is wrong, to be put after the name of the part.
fn decode(text: &str) -> Result<String, &'static str> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "that is not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("with a control character");
    }
    Ok(text.into())
}

impl fmt::Display for DriverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if self.has_authority {
            f.write_str("//")?;
            if self.user.is_some() || self.password.is_some() {
                f.write_str("***@")?;
            }
            for (i, (host, port)) in self.hosts.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                match port {
                    Some(port) => write!(f, "{comma}{}", limits::join_host(host, *port))?,
                    None if host.contains(':') => write!(f, "{comma}[{host}]")?,
                    None => write!(f, "{comma}{host}")?,
                }
            }
            if !self.path.is_empty() {
                f.write_str("/")?;
            }
        }
        f.write_str(&self.path)
    }
}

impl fmt::Debug for DriverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DriverUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::super::ErrorKind;
    use super::*;

    fn parse(text: &str) -> DriverUrl {
        DriverUrl::parse(text).unwrap()
    }

    #[test]
    fn each_form_of_a_url_is_parsed() {
        assert_eq!(parse("SQLite").scheme(), "sqlite");
        assert_eq!(parse("sqlite:a b/gosd%3F.db").path(), "a b/gosd?.db");
        assert_eq!(parse("sqlite:/var/x.db?namespace=n").path(), "/var/x.db");
        assert_eq!(parse("http+unix:///run/a#1.sock").path(), "run/a#1.sock");
        assert_eq!(parse("redis://").hosts_or("localhost", 6379), ["localhost:6379"]);
        assert_eq!(parse("etcd://u:p@[::1]:1,b").hosts_or("x", 2), ["[::1]:1", "b:2"]);
        assert_eq!(parse("http://h/a/b").path(), "a/b");
        assert_eq!(parse("redis+sentinel://a,b/mymaster/0").path(), "mymaster/0");
    }

    #[test]
    fn secrets_may_have_odd_characters() {
        for (text, password) in [
            ("redis://:p@ss@h", "p@ss"),
            ("redis://u:p%2F%C3%A4@h", "p/ä"),
            ("redis://u:a:b@h", "a:b"),
            ("redis://u:a#b@h/0", "a#b"),
        ] {
            let url = parse(text);
            assert_eq!(url.password(), Some(password), "{text}");
            assert!(!format!("{url} {url:?}").contains(password), "{url:?}");
        }
        assert_eq!(parse("http://:token@h").user(), None);
        assert!(!parse("http://token@h").to_string().contains("token"));
    }

    #[test]
    fn errors_are_config_and_hold_no_secret() {
        for text in [
            "",
            ":",
            "1a://h",
            "redis://u:sesame@h:x",
            "redis://u:sesame@h:70000",
            "redis://sesame@",
            "redis://u:sesame%ff@h",
            "redis://u:sesame@a,,b",
            "http://h?sesame",
            "http://h?a=&b=sesame",
            "http://h?a=sesame&a=sesame",
            "redis://u:sesame@h\n",
            "redis://u:sesame%0a@h",
            "redis://sesame%00@h",
            "sqlite:sesame%00b",
            "http://h/sesame%1b",
            "http://h?a=sesame%7f",
            "redis://u:1/sesame@h",
            "redis://u:p@1/sesame@h",
            "redis://u:p@/sesame@h",
            "redis:u:p?sesame=1&sesame=2@h",
            "redis://u:1?sesame@h",
            "http://u?sesame=1@h",
            "http://h#sesame",
            "redis://:sesame@h/0#sesame",
            "rediss://h?ca=sesame#1.pem",
        ] {
            match DriverUrl::parse(text) {
                Ok(url) => assert!(text == "redis://sesame@" && url.hosts().is_empty(), "{text}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Config, "{text}");
                    assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
                }
            }
        }
    }

    #[test]
    fn unknown_query_keys_are_refused() {
        let url = parse("http://h?namespace=a%20b&ca=x&cert=y");
        assert_eq!(url.namespace().unwrap_err().kind(), ErrorKind::Config);
        assert!(url.tls_files().unwrap_err().to_string().contains("together"));
        let error = url.allow_keys(&["namespace", "ca"]).unwrap_err().to_string();
        assert!(error.contains("\"cert\"") && error.contains("namespace, ca"), "{error}");
        assert_eq!(parse("redis://h").namespace().unwrap(), "gosd");
        let tls = parse("rediss://h?ca=a&cert=b&key=c").tls_files().unwrap();
        assert_eq!((tls.ca, tls.identity), (Some("a".into()), Some(("b".into(), "c".into()))));
    }
}
