use gosd_core::{DriverUrl, Error, ErrorKind, Result, TlsFiles};
use percent_encoding::utf8_percent_encode;
use reqwest::Url;

use crate::wire::PATH;

/// The port of the reference server, for a URL that names no host; else the scheme's own counts.
const PORT: u16 = 4673;

/// What the driver's URL says. No `Debug`: it holds the token.
pub(crate) struct Options {
    /// Scheme, host, port and path prefix, without a `/` at the end.
    pub(crate) base: String,
    pub(crate) namespace: String,
    pub(crate) token: Option<String>,
    pub(crate) tls: TlsFiles,
    pub(crate) watch: bool,
}

impl Options {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = DriverUrl::parse(url)?;
        let scheme = url.scheme();
        let fail = |problem: &str| {
            Err(Error::new(ErrorKind::Config, format!("the {scheme} URL {problem}")))
        };
        if !matches!(scheme, "http" | "https") {
            return fail("has the wrong scheme; the HTTP driver has http and https");
        }
        url.allow_keys(&["namespace", "ca", "cert", "key", "watch"])?;
        if !url.has_authority() && !url.path().is_empty() {
            return fail("lacks the // before the host");
        }
        if url.user().is_some() {
            return fail("has a user; a token stands after a colon, as in https://:TOKEN@host");
        }
        if let Some(token) = url.password()
            && !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return fail("has a token with a character other than visible ASCII");
        }
        let authority = match url.hosts() {
            [] => format!("localhost:{PORT}"),
            [_] => url.hosts_or("", if scheme == "https" { 443 } else { 80 }).remove(0),
            _ => return fail("has several hosts; put a load balancer before them, and name that"),
        };
        let tls = url.tls_files()?;
        if scheme == "http" && tls != TlsFiles::default() {
            return fail("names certificates, which are for https");
        }
        let watch = match url.query("watch") {
            None | Some("on") => true,
            Some("off") => false,
            Some(_) => return fail("has a value of watch other than on and off"),
        };
        let namespace = url.namespace()?;
        if matches!(namespace, "." | "..") {
            return fail("has the namespace . or .., which no path can hold");
        }
        let mut base = format!("{scheme}://{authority}");
        for segment in url.path().split('/').filter(|segment| !segment.is_empty()) {
            if matches!(segment, "." | "..") {
                return fail("has the path segment . or ..");
            }
            base.extend(["/", &utf8_percent_encode(segment, PATH).to_string()]);
        }
        if Url::parse(&base).is_err() {
            return fail("has a host that cannot be one");
        }
        Ok(Self {
            base,
            namespace: namespace.to_owned(),
            token: url.password().map(Into::into),
            tls,
            watch,
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
    fn bases() {
        for (url, base) in [
            ("http", "http://localhost:4673"),
            ("https://", "https://localhost:4673"),
            ("HTTP://h", "http://h:80"),
            ("https://:t@h/", "https://h:443"),
            ("http://[::1]:7/a b/%2F/", "http://[::1]:7/a%20b"),
        ] {
            assert_eq!(parse(url).base, base, "{url}");
        }
    }

    #[test]
    fn everything_at_once() {
        let options = parse("https://:s%40crit@h:1/p?namespace=n&ca=a&cert=b&key=c&watch=off");
        assert_eq!(options.token.as_deref(), Some("s@crit"));
        assert_eq!((options.base.as_str(), options.namespace.as_str()), ("https://h:1/p", "n"));
        assert!(options.tls.ca.is_some() && options.tls.identity.is_some() && !options.watch);
        assert!(parse("http://h").watch);
    }

    #[test]
    fn what_cannot_work_is_refused_and_shows_no_token() {
        for (url, hint) in [
            ("http:h", "//"),
            ("http+unix://:sesame@h", "http and https"),
            ("http://sesame@h", "after a colon"),
            ("http://user:sesame@h", "after a colon"),
            ("http://:sesame%20x@h", "visible ASCII"),
            ("http://:sesame@a,b", "several hosts"),
            ("http://:sesame@h?ca=x", "for https"),
            ("https://:sesame@h?cert=x", "together"),
            ("http://:sesame@h?watch=sesame", "on and off"),
            ("http://:sesame@h?token=x", "\"token\""),
            ("http://:sesame@h?namespace=..", "namespace"),
            ("http://:sesame@h?namespace=a/b", "namespace"),
            ("http://:sesame@h/a/../b", "segment"),
            ("http://:sesame@1.2.3.4.5", "host"),
        ] {
            let error = Options::parse(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(hint), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("sesame"), "{url}: {error}");
        }
    }
}
