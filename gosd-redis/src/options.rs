//! The options of a driver URL.

use gosd_core::{DriverUrl, Error, ErrorKind, Result, TlsFiles};
use gosd_net::Tls;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The options of a driver URL. No `Debug`: they contain the password.
pub(crate) struct Options {
    pub(crate) topology: Topology,
    /// The server, or the nodes or sentinels to ask first; never empty.
    pub(crate) hosts: Vec<Host>,
    /// `None` for plain connections.
    pub(crate) tls: Option<Tls>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u32,
    pub(crate) namespace: String,
}

/// How the server that holds the registry is found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Single,
    Cluster,
    Sentinel { master: String },
}

/// A host, IPv6 literals without brackets, and a port.
pub(crate) type Host = (String, u16);

impl Options {
    /// Whether the server has to be a master, so that a replica cannot be used.
    pub(crate) fn is_of_master(&self) -> bool {
        matches!(self.topology, Topology::Sentinel { .. })
    }

    pub(crate) fn parse(url: &str) -> Result<Self> {
        let url = DriverUrl::parse(url)?;
        let fail = |problem: String| {
            Err(Error::new(ErrorKind::Config, format!("the {} URL {problem}", url.scheme())))
        };
        let (topology, secure) = Topology::of(url.scheme())?;
        url.allow_keys(&["namespace", "ca", "cert", "key"])?;
        if !url.has_authority() && !url.path().is_empty() {
            return fail("lacks the // before the host".into());
        }
        if url.user().is_some() && url.password().is_none() {
            return fail("has a user but no password; expected user:password@host".into());
        }

        let (topology, database) = match topology {
            Topology::Sentinel { .. } => {
                let (master, database) = url.path().split_once('/').unwrap_or((url.path(), ""));
                if master.is_empty() {
                    return fail("names no master; expected host,host/master/database".into());
                }
                (Topology::Sentinel { master: master.to_owned() }, database)
            }
            other => (other, url.path()),
        };
        let database = match database {
            "" => 0,
            path if url.hosts().is_empty() && path.contains('/') => return Err(no_unix_sockets()),
            text => match text.parse() {
                Ok(number) => number,
                Err(_) => return fail(format!("has the database {text:?}; expected a number")),
            },
        };
        if topology == Topology::Cluster && database != 0 {
            return fail("names a database; a cluster has only database 0".into());
        }
        if topology == Topology::Single && url.hosts().len() > 1 {
            return fail("has several hosts; that is for redis+cluster and redis+sentinel".into());
        }

        let files = url.tls_files()?;
        if !secure && files != TlsFiles::default() {
            return fail("names certificates, which are for rediss".into());
        }
        let tls = if secure { Some(Tls::new(files, &[])?) } else { None };
        let sentinel = matches!(topology, Topology::Sentinel { .. });
        let default_port = if sentinel { SENTINEL_PORT } else { PORT };
        Ok(Self {
            topology,
            hosts: url.addresses_or("localhost", default_port),
            tls,
            user: url.user().map(Into::into),
            password: url.password().map(Into::into),
            database,
            namespace: url.namespace()?.to_owned(),
        })
    }
}

impl Topology {
    /// What a scheme stands for, a master still without its name, and whether connections are encrypted.
    fn of(scheme: &str) -> Result<(Self, bool)> {
        Ok(match scheme {
            "redis" => (Self::Single, false),
            "rediss" => (Self::Single, true),
            "redis+cluster" => (Self::Cluster, false),
            "rediss+cluster" => (Self::Cluster, true),
            "redis+sentinel" => (Self::Sentinel { master: String::new() }, false),
            "rediss+sentinel" => (Self::Sentinel { master: String::new() }, true),
            "redis+unix" | "redis+socket" | "unix" => return Err(no_unix_sockets()),
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the Redis driver has no scheme {scheme:?}; it has redis, redis+cluster, \
                         redis+sentinel, and the same with rediss for TLS"
                    ),
                ));
            }
        })
    }
}

fn no_unix_sockets() -> Error {
    Error::new(
        ErrorKind::Config,
        "the Redis driver has no Unix sockets; have the server listen on loopback (bind 127.0.0.1) and \
         write redis://127.0.0.1:6379",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Options {
        Options::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn hosts(options: &Options) -> Vec<String> {
        options.hosts.iter().map(|(host, port)| format!("{host} {port}")).collect()
    }

    #[test]
    fn omitted_parts_of_a_url_have_defaults() {
        for url in ["redis", "redis:", "redis://", "redis:///0", "REDIS://localhost:6379"] {
            let options = parse(url);
            assert_eq!(options.topology, Topology::Single, "{url}");
            assert_eq!(hosts(&options), ["localhost 6379"], "{url}");
            assert_eq!((options.database, options.namespace.as_str()), (0, "gosd"), "{url}");
            assert!(options.tls.is_none() && options.password.is_none(), "{url}");
        }
    }

    #[test]
    fn a_url_may_have_every_option() {
        let options = parse("rediss://u:p%40@[::1]:7/3?namespace=n&ca=a&cert=b&key=c");
        assert_eq!(hosts(&options), ["::1 7"]);
        assert_eq!((options.user.as_deref(), options.password.as_deref()), (Some("u"), Some("p@")));
        assert_eq!((options.database, options.namespace.as_str()), (3, "n"));
        assert!(options.tls.is_some());
        assert_eq!(parse("redis://:p#w@h").password.as_deref(), Some("p#w"));
    }

    #[test]
    fn cluster_and_sentinel() {
        let options = parse("redis+cluster://a,b:7000");
        assert_eq!(options.topology, Topology::Cluster);
        assert_eq!(hosts(&options), ["a 6379", "b 7000"]);

        let options = parse("rediss+sentinel://:p@a,b:7000/mymaster/2");
        assert_eq!(options.topology, Topology::Sentinel { master: "mymaster".into() });
        assert_eq!(hosts(&options), ["a 26379", "b 7000"]);
        assert_eq!(options.database, 2);
        assert!(options.tls.is_some());
        assert_eq!(parse("redis://:p#w@h").password.as_deref(), Some("p#w"));
        assert_eq!(parse("redis+sentinel://a/m").database, 0);
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for (url, hint) in [
            ("redis:gosd.db", "//"),
            ("redis+unix:///run/redis.sock", "no Unix sockets"),
            ("unix:///run/redis.sock", "no Unix sockets"),
            ("redis:///run/redis.sock", "no Unix sockets"),
            ("redises://h", "no scheme"),
            ("redis://h:6379#db", "has a #"),
            ("redis://h#db/0", "has a #"),
            ("redis://:p#w@h/0#db", "has a #"),
            ("redis:// h", "no host name has"),
            ("redis://h:6379 ", "a port"),
            ("redis://h/0 ", "a number"),
            ("redis://h/x", "a number"),
            ("redis://h/-1", "a number"),
            ("redis://h/0/1", "a number"),
            ("redis://a,b", "redis+cluster"),
            ("redis+cluster://a/1", "database 0"),
            ("redis+sentinel://a", "master"),
            ("redis+sentinel://a/m/x", "a number"),
            ("redis://user@h", "no password"),
            ("redis://h?ca=x", "rediss"),
            ("rediss://h?cert=x", "together"),
            ("redis://h?db=1", "\"db\""),
            ("redis://h?namespace=a/b", "namespace"),
        ] {
            let error = Options::parse(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(hint), "{url}: {error}");
        }
    }
}
