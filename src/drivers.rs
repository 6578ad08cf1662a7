//! The table of drivers, and the choice of one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gosd_core::limits::is_scheme;
use gosd_core::{Both, BoxFuture, Client, ClientBuilder, Driver, Error, ErrorKind, Result};

use crate::diagnosis::Diagnose;
use crate::identity::{Identified, identity};
use crate::{advertise, env, misspelt};

/// Makes the two tables of drivers. Each line is a feature: how to open its crate's driver, how to diagnose
/// its database, and the schemes that the feature adds.
macro_rules! drivers {
    ($($feature:literal $open:path, $diagnose:path, [$($scheme:literal)*])*) => {
        /// The features of this crate, and the schemes that each of them adds.
        pub(crate) const FEATURES: &[(&str, &[&str])] = &[$(($feature, &[$($scheme),*])),*];

        /// The drivers whose features are on.
        pub(crate) const COMPILED: &[(&str, Open, Diagnose)] = &[$(
            #[cfg(feature = $feature)]
            ($feature, $open, $diagnose),
        )*];
    };
}

drivers! {
    "sqlite" gosd_sqlite::open, gosd_sqlite::diagnose, ["sqlite"]
    "redis" crate::network::redis, gosd_redis::diagnose, [
        "redis" "redis+cluster" "redis+sentinel" "rediss" "rediss+cluster" "rediss+sentinel"
    ]
    "postgres" crate::network::postgres, gosd_postgres::diagnose, ["postgres" "postgresql"]
    "etcd" crate::network::etcd, gosd_etcd::diagnose, ["etcd" "etcds"]
    "http" crate::network::http, gosd_http::diagnose, ["http" "https" "http+unix"]
}

/// Schemes of other libraries, and what to write instead.
const MISTAKEN: &[(&[&str], &str)] = &[
    (
        &["redis+unix", "rediss+unix", "redis+socket", "unix"],
        "gosd reaches Redis by TCP only: have it listen on loopback (bind 127.0.0.1) and write \
         redis://127.0.0.1:6379; for a registry server on a Unix socket write http+unix:///path/of/the.sock",
    ),
    (&["redis-sentinel", "sentinel"], "write redis+sentinel://host:26379,host:26379/master"),
    (&["redis-cluster"], "write redis+cluster://host:6379,host:6379"),
    (&["sqlite3", "file"], "write sqlite:/path/of/the.db"),
    (&["https+unix"], "a Unix socket needs no TLS: write http+unix:///path/of/the.sock"),
];

pub(crate) type Open = for<'a> fn(&'a str) -> BoxFuture<'a, Result<Arc<dyn Driver>>>;

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
    /// The drivers whose features are on. Without features there are none.
    pub fn compiled() -> Self {
        let mut drivers = Self { openers: BTreeMap::new() };
        for (feature, schemes) in FEATURES {
            let compiled = COMPILED.iter().find(|(name, ..)| name == feature);
            let Some((_, open, _)) = compiled else { continue };
            for scheme in *schemes {
                drivers = drivers.with(scheme, open);
            }
        }
        drivers
    }

    /// Adds a driver of your own under a scheme, or replaces the one that had the scheme.
    ///
    /// `open` checks the URL, fails only with [`ErrorKind::Config`], and does no I/O: a driver connects when
    /// it is first used. It gets the URL as it was given, except for the query key `namespace` that
    /// [`from_env`](Self::from_env) adds where `gosdNamespace` is set.
    ///
    /// Schemes are compared without regard to case. With a scheme that no URL can have, such as `my driver`,
    /// every use of the table fails with [`ErrorKind::Config`].
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
        Ok(Arc::new(self.open_for(None, url).await?))
    }

    /// Opens the driver that the environment chooses.
    ///
    /// That is the one of `gosdDriver`; or else `redis`, if one of `gosdRedisAddr`, `gosdRedisDB` and
    /// `gosdRedisPassword` is set; or else `sqlite`, if it is in the table. With `gosdDriverAlso` the result
    /// is [`Both`] of that driver and the other. `gosdNamespace` counts unless a URL has its own `namespace`.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); and [`ErrorKind::Config`] if a variable has a bad value, or none of the
    /// above applies.
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
        for (_, database) in env::databases(&env::process, self.default_scheme())? {
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
        let (primary, also) = self.databases(lookup).await?;
        let Some(also) = also else { return Ok(primary) };
        let interval = env::settings(lookup)?.refresh_interval;
        Ok(Arc::new(Both::new(primary, also).refresh_interval(interval)))
    }

    /// Opens the chosen database, and the second one if there is one.
    pub(crate) async fn databases(
        &self,
        lookup: env::Lookup<'_>,
    ) -> Result<(Arc<dyn Driver>, Option<Arc<dyn Driver>>)> {
        let chosen = env::databases(lookup, self.default_scheme())?;
        let Some((variable, url)) = chosen.first().filter(|(variable, _)| *variable != env::ALSO)
        else {
            return Err(config(format!(
                "no driver is chosen: set {} to a driver's URL; {}",
                env::DRIVER,
                self.offer()
            )));
        };
        let mut primary = self.open_for(Some(variable), url).await?;
        let Some((beside, url)) = chosen.get(1) else { return Ok((Arc::new(primary), None)) };
        let mut also = self.open_for(Some(beside), url).await?;
        if primary.identity() == also.identity() {
            return Err(config(format!("{variable} and {beside} are the same database")));
        }
        for (driver, variable) in [(&mut primary, variable), (&mut also, beside)] {
            driver.name = Some(format!("{} ({variable})", driver.driver.name()));
        }
        Ok((Arc::new(primary), Some(Arc::new(also))))
    }

    /// Opens a URL that the caller gave, or that comes from a variable.
    async fn open_for(&self, variable: Option<&str>, url: &str) -> Result<Identified> {
        if let Some(bad) = self.openers.keys().find(|scheme| !is_scheme(scheme)) {
            return Err(config(format!("Drivers::with was given {bad:?}, which is not a scheme")));
        }
        let what = variable.unwrap_or("the URL");
        // An error may show only this part of the URL.
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
        Ok(Identified { driver, identity: identity(url, is_compiled_in), name: None })
    }

    /// The list of schemes, for a message.
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
mod tests;
