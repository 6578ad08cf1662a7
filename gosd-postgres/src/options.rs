//! The options of a driver URL.

use gosd_core::limits::is_loopback;
use gosd_core::{DriverUrl, Error, ErrorKind, Result, TlsFiles};
use gosd_net::Tls;

const PORT: u16 = 5432;

/// The options of a driver URL. No `Debug`: they contain the password.
pub(crate) struct Options {
    /// The hosts in the order in which they are tried; never empty.
    pub(crate) hosts: Vec<Host>,
    /// `None` for plain connections.
    pub(crate) tls: Option<Tls>,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
    pub(crate) namespace: String,
}

/// A host, IPv6 literals without brackets, and a port.
pub(crate) type Host = (String, u16);

impl Options {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = DriverUrl::parse(url)?;
        let fail = |problem: String| {
            Err(Error::new(ErrorKind::Config, format!("the {} URL {problem}", url.scheme())))
        };
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the PostgreSQL driver has no scheme {:?}; it has postgres and postgresql",
                    url.scheme()
                ),
            ));
        }
        url.allow_keys(&["namespace", "sslmode", "target_session_attrs", "ca", "cert", "key"])?;
        if !url.has_authority() && !url.path().is_empty() {
            return fail("lacks the // before the host".into());
        }
        if url.user().is_none() && url.password().is_some() {
            return fail("has a password but no user; expected user:password@host".into());
        }
        match url.query("target_session_attrs") {
            None | Some("read-write" | "primary") => {}
            Some(other) => {
                return fail(format!(
                    "has target_session_attrs={other}; a registry is written to, so leave it out, or \
                     say read-write"
                ));
            }
        }
        let hosts = url.addresses_or("localhost", PORT);
        let files = url.tls_files()?;
        let is_plain = match url.query("sslmode") {
            None => files == TlsFiles::default() && hosts.iter().all(|(host, _)| is_loopback(host)),
            Some("disable") if files != TlsFiles::default() => {
                return fail("names certificates, which sslmode=disable has no use for".into());
            }
            Some("disable") => true,
            Some("require" | "verify-ca" | "verify-full") => false,
            Some(other) => {
                return fail(format!(
                    "has sslmode={other}; expected disable or verify-full: with anything weaker others could \
                     listen"
                ));
            }
        };
        let user = url.user().unwrap_or("postgres").to_owned();
        Ok(Self {
            hosts,
            tls: if is_plain { None } else { Some(Tls::new(files, &[])?) },
            database: if url.path().is_empty() { user.clone() } else { url.path().to_owned() },
            user,
            password: url.password().map(ToOwned::to_owned),
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
        for url in ["postgres", "postgresql:", "postgres://", "POSTGRES://localhost:5432/"] {
            let options = parse(url);
            assert_eq!(options.hosts, [("localhost".to_owned(), 5432)], "{url}");
            assert_eq!((&*options.user, &*options.database), ("postgres", "postgres"), "{url}");
            assert_eq!(options.namespace, "gosd", "{url}");
            assert!(options.tls.is_none() && options.password.is_none(), "{url}");
        }
    }

    #[test]
    fn a_url_may_have_every_option() {
        let query = "namespace=n&ca=a&cert=b&key=c&sslmode=require&target_session_attrs=read-write";
        let options = parse(&format!("postgresql://u:p%40@[::1]:7,b/my%20db?{query}"));
        assert_eq!(options.hosts, [("::1".to_owned(), 7), ("b".to_owned(), 5432)]);
        assert_eq!((&*options.user, options.password.as_deref()), ("u", Some("p@")));
        assert_eq!((&*options.database, &*options.namespace), ("my db", "n"));
        assert!(options.tls.is_some());
        assert_eq!(parse("postgres://u@h/?sslmode=disable").database, "u");
    }

    #[test]
    fn connections_to_other_hosts_are_encrypted() {
        for (url, is_encrypted) in [
            ("postgres://127.0.0.7,[::1],LOCALHOST", false),
            ("postgres://[::ffff:127.0.0.1]", false),
            ("postgres://localhost?ca=x", true),
            ("postgres://localhost?sslmode=verify-full", true),
            ("postgres://localhost,10.0.0.1", true),
            ("postgres://db", true),
            ("postgres://db?sslmode=disable", false),
        ] {
            assert_eq!(parse(url).tls.is_some(), is_encrypted, "{url}");
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for (url, hint) in [
            ("redis://h", "no scheme"),
            ("postgres:host", "//"),
            ("postgres:u:sesame@h", "//"),
            ("postgres://:sesame@h", "no user"),
            ("postgres://h?sslmode=prefer", "sslmode=prefer"),
            ("postgres://h?sslmode=disable&ca=x", "sslmode=disable"),
            ("postgres://h?cert=x", "together"),
            ("postgres://h?target_session_attrs=any", "target_session_attrs=any"),
            ("postgres://h?password=sesame", "\"password\""),
            ("postgres://h?namespace=a/b", "namespace"),
        ] {
            let error = Options::parse(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(hint), "{url}: {error}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }
}
