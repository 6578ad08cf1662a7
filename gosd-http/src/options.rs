//! The options of a driver URL.

use std::net::Ipv4Addr;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use gosd_core::limits::join_host;
use gosd_core::{DriverUrl, Error, ErrorKind, Result, TlsFiles};
use http::Uri;
use percent_encoding::utf8_percent_encode;

use crate::wire::PATH;

/// The port of the registry server, for a URL that names no host; else the scheme's own counts.
const PORT: u16 = 4673;

/// The options of a driver URL. It has no `Debug`, because it holds the token.
pub(crate) struct Options {
    /// The servers in the order of the URL; at least one.
    pub(crate) servers: Vec<Address>,
    pub(crate) is_encrypted: bool,
    pub(crate) namespace: String,
    pub(crate) token: Option<String>,
    pub(crate) tls: TlsFiles,
    pub(crate) watch: bool,
}

/// The address of a server.
pub(crate) struct Address {
    /// Scheme, host, port and path prefix, without a `/` at the end.
    pub(crate) base: String,
    /// Host and port, as errors show them.
    pub(crate) name: String,
    pub(crate) target: Arc<Target>,
}

/// Where to connect to.
pub(crate) enum Target {
    /// A host, of IPv6 without brackets, and a port.
    Host(String, u16),
    #[cfg(unix)]
    Socket(PathBuf),
}

impl Options {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = DriverUrl::parse(url)?;
        let scheme = url.scheme();
        let fail = |problem: &str| {
            Err(Error::new(ErrorKind::Config, format!("the {scheme} URL {problem}")))
        };
        let is_socket = cfg!(unix) && scheme == "http+unix";
        if !matches!(scheme, "http" | "https") && !is_socket {
            return fail(
                "has the wrong scheme; the HTTP driver has http, https and, on Unix, http+unix",
            );
        }
        url.allow_keys(&["namespace", "ca", "cert", "key", "watch"])?;
        if !is_socket && !url.has_authority() && !url.path().is_empty() {
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
        let is_encrypted = scheme == "https";
        if is_socket && !url.hosts().is_empty() {
            return fail("has a host; write http+unix:///path/of/the.sock");
        }
        let tls = url.tls_files()?;
        if !is_encrypted && tls != TlsFiles::default() {
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
        if is_socket {
            #[cfg(unix)]
            return Self::at_socket(&url, namespace, watch);
        }
        let servers = match servers(&url) {
            Ok(servers) => servers,
            Err(problem) => return fail(problem),
        };
        Ok(Self {
            servers,
            is_encrypted,
            namespace: namespace.to_owned(),
            token: url.password().map(Into::into),
            tls,
            watch,
        })
    }

    #[cfg(unix)]
    fn at_socket(url: &DriverUrl, namespace: &str, watch: bool) -> Result<Self> {
        let path = match url.has_authority() {
            true => format!("/{}", url.path()),
            false => url.path().to_owned(),
        };
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(Error::new(
                ErrorKind::Config,
                "the http+unix URL lacks the path of a socket; write http+unix:///path/of/the.sock",
            ));
        }
        // The server checks that the host is one of its names.
        let base = "http://localhost".to_owned();
        let target = Arc::new(Target::Socket(PathBuf::from(&path)));
        Ok(Self {
            servers: vec![Address { base, name: path, target }],
            is_encrypted: false,
            namespace: namespace.to_owned(),
            token: url.password().map(Into::into),
            tls: TlsFiles::default(),
            watch,
        })
    }
}

/// The servers of a URL. The error says what is wrong, to be put after the name of the URL.
fn servers(url: &DriverUrl) -> Result<Vec<Address>, &'static str> {
    let mut prefix = String::new();
    for segment in url.path().split('/').filter(|segment| !segment.is_empty()) {
        if matches!(segment, "." | "..") {
            return Err("has the path segment . or ..");
        }
        prefix.extend(["/", &utf8_percent_encode(segment, PATH).to_string()]);
    }
    // Where no host is named, the port is the registry server's own.
    let usual_port = match url.hosts() {
        [] => PORT,
        _ if url.scheme() == "https" => 443,
        _ => 80,
    };
    let mut servers = Vec::<Address>::new();
    for (host, port) in url.addresses_or("localhost", usual_port) {
        let server = Address::new(url.scheme(), &host, port, &prefix)
            .ok_or("has a host that cannot be one")?;
        if servers.iter().any(|other| other.name == server.name) {
            return Err("names a server twice");
        }
        servers.push(server);
    }
    Ok(servers)
}

impl Address {
    /// `None` if the host is invalid.
    fn new(scheme: &str, host: &str, port: u16, prefix: &str) -> Option<Self> {
        let name = join_host(host, port);
        let base = format!("{scheme}://{name}{prefix}");
        // A host whose last label is a number has to be an address, or it is invalid.
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        if base.parse::<Uri>().is_err() || (is_number && host.parse::<Ipv4Addr>().is_err()) {
            return None;
        }
        Some(Self { base, name, target: Arc::new(Target::Host(host.to_owned(), port)) })
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
            let servers = parse(url).servers;
            assert_eq!((servers.len(), servers[0].base.as_str()), (1, base), "{url}");
        }
    }

    #[test]
    fn several_servers() {
        let options = parse("https://:t@a,b:4673,[::1]:7/p");
        let bases: Vec<_> = options.servers.iter().map(|server| server.base.as_str()).collect();
        assert_eq!(bases, ["https://a:443/p", "https://b:4673/p", "https://[::1]:7/p"]);
        assert_eq!(options.servers[2].name, "[::1]:7");
        let Target::Host(host, 7) = &*options.servers[2].target else { panic!("a host") };
        assert_eq!(host, "::1");
    }

    #[cfg(unix)]
    #[test]
    fn sockets() {
        for url in ["http+unix:///run/a%20b.sock", "http+unix:/run/a%20b.sock?namespace=n"] {
            let options = parse(url);
            let Target::Socket(path) = &*options.servers[0].target else { panic!("{url}") };
            assert_eq!(path.to_str(), Some("/run/a b.sock"), "{url}");
        }
        let options = parse("http+unix://:t@/run/x.sock?watch=off");
        assert_eq!((options.token.as_deref(), options.watch), (Some("t"), false));
    }

    #[test]
    fn everything_at_once() {
        let options = parse("https://:s%40crit@h:1/p?namespace=n&ca=a&cert=b&key=c&watch=off");
        assert_eq!(options.token.as_deref(), Some("s@crit"));
        let base = options.servers[0].base.as_str();
        assert_eq!((base, options.namespace.as_str()), ("https://h:1/p", "n"));
        assert!(options.tls.ca.is_some() && options.tls.identity.is_some() && !options.watch);
        assert!(parse("http://h").watch);
    }

    #[test]
    fn what_cannot_work_is_refused_and_shows_no_token() {
        for (url, hint) in [
            ("http:h", "//"),
            ("http+unix://:sesame@h/x", "has a host"),
            ("http+unix", "path of a socket"),
            ("http+unix:x.sock", "path of a socket"),
            ("http+unix:///x.sock?ca=x", "for https"),
            ("ftp://:sesame@h", "wrong scheme"),
            ("http://sesame@h", "after a colon"),
            ("http://user:sesame@h", "after a colon"),
            ("http://:sesame%20x@h", "visible ASCII"),
            ("http://:sesame@a,b,a:80", "twice"),
            ("http://:sesame@a,1.2.3.4.5", "host"),
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
