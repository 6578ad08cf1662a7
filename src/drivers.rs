//! The drivers that a program can choose from, and the choice.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gosd_core::limits::is_scheme;
use gosd_core::{BoxFuture, Client, ClientBuilder, Driver, Error, ErrorKind, Result};

use crate::identity::{Identified, identity};
#[cfg(any(feature = "redis", feature = "etcd", feature = "http"))]
use crate::network;
use crate::{advertise, env, misspelt};

/// Makes the two tables of what there is: a line is a feature, how the driver of the crate that it
/// compiles in is opened, and the schemes that this adds.
macro_rules! drivers {
    ($($feature:literal $open:path, [$($scheme:literal)*])*) => {
        /// The features of this crate, and the schemes that each of them adds.
        const FEATURES: &[(&str, &[&str])] = &[$(($feature, &[$($scheme),*])),*];

        /// The drivers whose features are on.
        const COMPILED: &[(&str, Open)] = &[$(
            #[cfg(feature = $feature)]
            ($feature, $open),
        )*];
    };
}

drivers! {
    "sqlite" gosd_sqlite::open, ["sqlite"]
    "redis" network::redis, [
        "redis" "redis+cluster" "redis+sentinel" "rediss" "rediss+cluster" "rediss+sentinel"
    ]
    "etcd" network::etcd, ["etcd" "etcds"]
    "http" network::http, ["http" "https" "http+unix"]
}

/// Schemes that other libraries have, and what to write here.
const MISTAKEN: &[(&[&str], &str)] = &[
    (
        &["redis+unix", "rediss+unix", "redis+socket", "unix"],
        "Redis is not spoken to by Unix sockets; have it listen on loopback (bind 127.0.0.1) and write \
         redis://127.0.0.1:6379. Who means a registry server writes http+unix:///path/of/the.sock",
    ),
    (&["redis-sentinel", "sentinel"], "write redis+sentinel://host:26379,host:26379/master"),
    (&["redis-cluster"], "write redis+cluster://host:6379,host:6379"),
    (&["sqlite3", "file"], "write sqlite:/path/of/the.db"),
    (&["https+unix"], "a Unix socket needs no TLS: write http+unix:///path/of/the.sock"),
];

type Open = for<'a> fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Driver>>>;

type Opener = Box<dyn for<'a> Fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Driver>>> + Send + Sync>;

/// The drivers that a program can choose from, by the scheme of a URL.
///
/// ```
/// use std::sync::Arc;
/// use gosd::{Client, Driver, Drivers, Memory};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let memory = Memory::new();
/// let drivers = Drivers::compiled().with("memory", move |_url| {
///     let memory = memory.clone();
///     Box::pin(async move { Ok(Arc::new(memory) as Arc<dyn Driver>) })
/// });
/// let driver = drivers.open("memory").await?;
/// let client = Client::builder(driver).register("mail", "http://10.0.0.7:25").start().await?;
/// # client.shutdown().await?;
/// # Ok::<(), gosd::Error>(())
/// # }).unwrap();
/// ```
#[must_use]
pub struct Drivers {
    openers: BTreeMap<String, Opener>,
}

impl Drivers {
    /// The drivers whose feature is on; none without features.
    pub fn compiled() -> Self {
        let mut drivers = Self { openers: BTreeMap::new() };
        for (feature, schemes) in FEATURES {
            let compiled = COMPILED.iter().find(|(name, _)| name == feature);
            let Some((_, open)) = compiled else { continue };
            for scheme in *schemes {
                drivers = drivers.with(scheme, open);
            }
        }
        drivers
    }

    /// Adds a driver of your own under a scheme, in place of the one that was there.
    ///
    /// `open` judges the URL, fails only with [`ErrorKind::Config`], and does no I/O: a driver
    /// connects when it is first used. It gets the URL as it was given, but for the query key
    /// `namespace` that [`from_env`](Self::from_env) adds where `gosdNamespace` is set.
    ///
    /// Schemes are compared without regard to case. One that no URL can have, such as `my driver`,
    /// fails every use of the table with [`ErrorKind::Config`].
    pub fn with<F>(mut self, scheme: &'static str, open: F) -> Self
    where
        F: for<'a> Fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Driver>>> + Send + Sync + 'static,
    {
        self.openers.insert(scheme.to_ascii_lowercase(), Box::new(open));
        self
    }

    /// Opens the driver for a URL, or for a bare scheme with that driver's defaults.
    ///
    /// Does no I/O, and does not read the environment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the scheme is not in the table (the message lists what is, and names
    /// the feature that would add it), or the driver refuses the URL.
    pub async fn open(&self, url: &str) -> Result<Arc<dyn Driver>> {
        self.open_for(None, url).await
    }

    /// Opens the driver that the environment chooses.
    ///
    /// That is the one of `gosdDriver`; or else `redis`, if one of `gosdRedisAddr`, `gosdRedisDB` and
    /// `gosdRedisPassword` is set; or else `sqlite`, if it is in the table. `gosdNamespace` counts
    /// unless the URL has a `namespace` of its own.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); and [`ErrorKind::Config`] if a variable has a bad value, or none
    /// of the above applies.
    pub async fn from_env(&self) -> Result<Arc<dyn Driver>> {
        self.choose(&env::process).await
    }

    /// As [`gosd::start`](crate::start), with the drivers of this table.
    ///
    /// # Errors
    ///
    /// As for [`gosd::start`](crate::start).
    pub async fn start(&self, service: &str, url: &str) -> Result<Client> {
        let client = self.builder().await?;
        if let Some((_, database)) = env::driver_url(&env::process, self.default_scheme())? {
            advertise::check(url, &env::process, &database)?;
        }
        let client = client.register(service, url).handle_signals(true);
        client.replace_at_same_url(true).start().await
    }

    /// As [`gosd::connect`](crate::connect), with the drivers of this table.
    ///
    /// # Errors
    ///
    /// As for [`gosd::connect`](crate::connect).
    pub async fn connect(&self) -> Result<Client> {
        self.builder().await?.start().await
    }

    async fn builder(&self) -> Result<ClientBuilder> {
        misspelt::warn_of(&env::names());
        let settings = env::settings(&env::process)?;
        Ok(Client::builder(self.from_env().await?).settings(settings))
    }

    /// The driver that needs no server, if it is in the table.
    pub(crate) fn default_scheme(&self) -> Option<&'static str> {
        self.openers.contains_key("sqlite").then_some("sqlite")
    }

    pub(crate) async fn choose(&self, lookup: env::Lookup<'_>) -> Result<Arc<dyn Driver>> {
        match env::driver_url(lookup, self.default_scheme())? {
            Some((variable, url)) => self.open_for(Some(variable), &url).await,
            None => Err(config(format!(
                "no driver is chosen: set {} to a driver's URL; {}",
                env::DRIVER,
                self.offer()
            ))),
        }
    }

    /// Opens a URL that the caller gave, or that is owed to a variable.
    async fn open_for(&self, variable: Option<&str>, url: &str) -> Result<Arc<dyn Driver>> {
        if let Some(bad) = self.openers.keys().find(|scheme| !is_scheme(scheme)) {
            return Err(config(format!("Drivers::with was given {bad:?}, which is not a scheme")));
        }
        let what = variable.unwrap_or("the URL");
        // All of the URL that an error may show.
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        if !is_scheme(scheme) {
            let shown = if scheme.contains('@') { "..." } else { scheme };
            return Err(config(format!(
                "{what} begins with {shown:?}; expected a scheme, such as sqlite:gosd.db; {}",
                self.offer()
            )));
        }
        let scheme = scheme.to_ascii_lowercase();
        let Some(open) = self.openers.get(&scheme) else {
            let feature = FEATURES.iter().find(|(_, schemes)| schemes.contains(&scheme.as_str()));
            let meant = MISTAKEN.iter().find(|(schemes, _)| schemes.contains(&scheme.as_str()));
            let problem = match (feature, meant) {
                (Some((feature, _)), _) => {
                    format!("is not compiled in: enable the feature {feature:?} of gosd")
                }
                (None, Some((_, advice))) => format!("no driver has: {advice}"),
                (None, None) => "is unknown".into(),
            };
            let offer = self.offer();
            return Err(config(format!("{what} asks for {scheme:?}, which {problem}; {offer}")));
        };
        let operation = variable.map_or_else(|| "open".into(), |name| format!("open {name}"));
        let driver = open(url).await.map_err(|error| error.at(&scheme, &operation))?;
        let is_compiled_in = FEATURES.iter().any(|(_, schemes)| schemes.contains(&scheme.as_str()));
        Ok(Arc::new(Identified { driver, identity: identity(url, is_compiled_in) }))
    }

    /// What there is to choose from.
    fn offer(&self) -> String {
        if self.openers.is_empty() {
            let features: Vec<&str> = FEATURES.iter().map(|(feature, _)| *feature).collect();
            let features = features.join(", ");
            format!("no driver is compiled in: enable a feature of gosd ({features})")
        } else {
            let schemes: Vec<&str> = self.openers.keys().map(String::as_str).collect();
            format!("compiled in are: {}", schemes.join(", "))
        }
    }
}

pub(crate) fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

impl fmt::Debug for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drivers").field("schemes", &self.openers.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::sync::Mutex;

    use gosd_core::Memory;

    use super::*;

    /// A table without any driver.
    fn none() -> Drivers {
        Drivers { openers: BTreeMap::new() }
    }

    /// An opener that notes the URLs it gets.
    fn noting(
        urls: &Arc<Mutex<Vec<String>>>,
    ) -> impl for<'a> Fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Driver>>> + Send + Sync + 'static
    {
        let urls = Arc::clone(urls);
        move |url| {
            urls.lock().unwrap().push(url.to_owned());
            Box::pin(async { Ok(Arc::new(Memory::new()) as Arc<dyn Driver>) })
        }
    }

    fn refusing(_: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
        Box::pin(async { Err(config("no such place")) })
    }

    fn error(result: Result<Arc<dyn Driver>>) -> Error {
        let error = result.err().expect("it must be refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        error
    }

    async fn choose(drivers: &Drivers, env: &[(&str, &str)]) -> Result<Arc<dyn Driver>> {
        let env: BTreeMap<String, OsString> =
            env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        drivers.choose(&|name: &str| env.get(name).cloned()).await
    }

    #[tokio::test]
    async fn a_driver_gets_the_url_as_it_was_given() {
        let urls = Arc::default();
        let drivers = none().with("Mine+x", noting(&urls));
        for url in ["mine+x", "MINE+X:any thing|at all", "mine+x://u:p@h/?a#b"] {
            drivers.open(url).await.unwrap();
            choose(&drivers, &[("gosdDriver", url)]).await.unwrap();
            assert_eq!(std::mem::take(&mut *urls.lock().unwrap()), [url, url]);
        }
    }

    #[tokio::test]
    async fn the_driver_given_last_wins() {
        let urls = Arc::default();
        let drivers = Drivers::compiled().with("sqlite", refusing).with("SQLite", noting(&urls));
        drivers.open("sqlite:x").await.unwrap();
        assert_eq!(*urls.lock().unwrap(), ["sqlite:x"]);
    }

    #[tokio::test]
    async fn the_environment_chooses() {
        let (redis, sqlite) = (Arc::default(), Arc::default());
        let drivers = none().with("redis", noting(&redis)).with("sqlite", noting(&sqlite));
        choose(&drivers, &[]).await.unwrap();
        choose(&drivers, &[("gosdDriver", ""), ("gosdNamespace", "n")]).await.unwrap();
        choose(&drivers, &[("gosdDriver", ""), ("gosdRedisPassword", "a@b")]).await.unwrap();
        choose(&drivers, &[("gosdDriver", "redis"), ("gosdNamespace", "n")]).await.unwrap();
        assert_eq!(*sqlite.lock().unwrap(), ["sqlite", "sqlite:?namespace=n"]);
        assert_eq!(
            *redis.lock().unwrap(),
            ["redis://:a%40b@localhost:6379/0", "redis:?namespace=n"]
        );
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_told_what_there_is() {
        let drivers = none().with("b", refusing).with("a", refusing);
        let text = error(drivers.open("postgres://u:sesame@h").await).to_string();
        assert_eq!(text, r#"the URL asks for "postgres", which is unknown; compiled in are: a, b"#);
        let text = error(choose(&drivers, &[("gosdDriver", "nats")]).await).to_string();
        assert_eq!(text, r#"gosdDriver asks for "nats", which is unknown; compiled in are: a, b"#);
    }

    #[tokio::test]
    async fn a_known_scheme_is_told_its_feature() {
        for (feature, schemes) in FEATURES {
            for scheme in *schemes {
                let text = error(none().open(&format!("{scheme}:x")).await).to_string();
                assert!(text.contains(&format!("enable the feature {feature:?}")), "{text}");
            }
        }
        let text = error(choose(&none(), &[("gosdRedisDB", "1")]).await).to_string();
        assert!(text.starts_with(r#"gosdRedisDB asks for "redis", which is not"#), "{text}");
    }

    #[tokio::test]
    async fn a_scheme_of_other_libraries_is_told_what_to_write() {
        for (schemes, advice) in MISTAKEN {
            for scheme in *schemes {
                let error = error(none().open(&format!("{scheme}://:sesame@h/x")).await);
                let text = error.to_string();
                assert!(text.contains(advice) && !text.contains("sesame"), "{text}");
                let known = FEATURES.iter().any(|(_, all)| all.contains(scheme));
                assert!(!known, "{scheme} would never be looked up");
            }
        }
    }

    #[tokio::test]
    async fn with_nothing_chosen_it_is_told_how() {
        let text = error(choose(&none(), &[]).await).to_string();
        assert!(text.contains("set gosdDriver") && text.contains("(sqlite, redis"), "{text}");
        let text = error(choose(&none().with("mine", refusing), &[]).await).to_string();
        assert!(text.contains("set gosdDriver") && text.contains("are: mine"), "{text}");
    }

    #[tokio::test]
    async fn a_refused_url_is_told_with_its_driver_and_variable() {
        let drivers = none().with("mine", refusing);
        let refused = error(drivers.open("mine:x").await);
        assert_eq!(refused.to_string(), "mine: open: no such place");
        let refused = error(choose(&drivers, &[("gosdDriver", "mine:x")]).await);
        assert_eq!(refused.to_string(), "mine: open gosdDriver: no such place");
    }

    #[tokio::test]
    async fn what_has_no_scheme_is_refused_without_its_secrets() {
        let drivers = none().with("mine", refusing);
        for url in [
            "",
            " ",
            "1a://h",
            "/var/x.db",
            "//u:sesame@h",
            ":sesame@h",
            "u@sesame:1",
            "a b:sesame",
        ] {
            let text = error(drivers.open(url).await).to_string();
            assert!(text.starts_with("the URL begins with ") && !text.contains("sesame"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_scheme_that_no_url_has_fails_every_use() {
        for scheme in ["", "my driver", "mine:", "mine://", "1a"] {
            let drivers = none().with(scheme, refusing).with("b", noting(&Arc::default()));
            let text = error(drivers.open("b").await).to_string();
            assert!(text.contains(&format!("{scheme:?}, which is not a scheme")), "{text}");
        }
    }
}
