//! The options of a driver URL.

use gosd_core::{DriverUrl, Error, ErrorKind, Result, TlsFiles};

const PORT: u16 = 2379;

/// The options of a driver URL. No `Debug`: they contain the password.
pub(crate) struct Options {
    /// The members of the cluster as `host:port`; never empty.
    pub(crate) hosts: Vec<String>,
    /// `None` for plain connections.
    pub(crate) tls: Option<TlsFiles>,
    /// The user and the password.
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) namespace: String,
}

impl Options {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = DriverUrl::parse(url)?;
        let fail = |problem: String| Err(Error::new(ErrorKind::Config, problem));
        let secure = match url.scheme() {
            "etcd" => false,
            "etcds" => true,
            scheme => {
                return fail(format!(
                    "the etcd driver has no scheme {scheme:?}; it has etcd, and etcds for TLS"
                ));
            }
        };
        url.allow_keys(&["namespace", "ca", "cert", "key"])?;
        if !url.has_authority() && !url.path().is_empty() {
            // The URL may contain the password, so the message shows only the scheme.
            return fail(format!("the {} URL lacks the // before the host", url.scheme()));
        }
        if !url.path().is_empty() {
            return fail(format!(
                "the {} URL has the path {:?}; expected {0}://host:port,host:port",
                url.scheme(),
                url.path()
            ));
        }
        let credentials = match (url.user(), url.password()) {
            (Some(user), Some(password)) => Some((user.to_owned(), password.to_owned())),
            (None, None) => None,
            _ => {
                return fail(format!(
                    "the {} URL has one of user and password; expected user:password@host",
                    url.scheme()
                ));
            }
        };
        let tls = url.tls_files()?;
        if !secure && tls != TlsFiles::default() {
            return fail("the etcd URL names certificates, which are for etcds".into());
        }
        Ok(Self {
            hosts: url.hosts_or("localhost", PORT),
            tls: secure.then_some(tls),
            credentials,
            namespace: url.namespace()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Options {
        Options::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn omitted_parts_of_a_url_have_defaults() {
        for url in ["etcd", "etcd:", "etcd://", "ETCD://localhost", "etcd://localhost:2379/"] {
            let options = parse(url);
            assert_eq!(options.hosts, ["localhost:2379"], "{url}");
            assert_eq!(options.namespace, "gosd", "{url}");
            assert!(options.tls.is_none() && options.credentials.is_none(), "{url}");
        }
        assert_eq!(parse("etcds").tls, Some(TlsFiles::default()));
    }

    #[test]
    fn a_url_may_have_every_option() {
        let options = parse("etcds://u:p%40@[::1]:7,b,c:8?namespace=n&ca=a&cert=b&key=c");
        assert_eq!(options.hosts, ["[::1]:7", "b:2379", "c:8"]);
        assert_eq!(options.credentials, Some(("u".into(), "p@".into())));
        assert_eq!(options.namespace, "n");
        let tls = options.tls.unwrap();
        assert_eq!((tls.ca, tls.identity), (Some("a".into()), Some(("b".into(), "c".into()))));
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for (url, hint) in [
            ("redis://h", "no scheme"),
            ("etcd:host", "//"),
            ("etcd:u:sesame@h", "//"),
            ("etcd://h/n", "path"),
            ("etcd://user@h", "user and password"),
            ("etcd://:sesame@h", "user and password"),
            ("etcd://h?ca=x", "etcds"),
            ("etcds://h?cert=x", "together"),
            ("etcd://h?ttl=1", "\"ttl\""),
            ("etcd://h?namespace=a/b", "namespace"),
        ] {
            let error = Options::parse(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(hint), "{url}: {error}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }
}
