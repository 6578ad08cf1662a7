//! The variables of gosd, for a program whose flags replace some of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use gosd_core::{Driver, DriverUrl, Fact, Result, Settings};

use crate::diagnosis::diagnose;
use crate::drivers::config;
use crate::{Drivers, advertise, env, misspelt};

/// The variables of the process, some of which a program may replace by its own values.
///
/// For a program with flags that mean the same as gosd's variables. A value that is given here is checked by
/// the same rules as a variable, and everything that depends on the variable uses it, such as the advertised
/// address.
///
/// ```
/// use gosd::{Drivers, Environment};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let environment = Environment::process().with("gosdLeaseTTL", "30")?;
/// assert_eq!(environment.settings()?.lease_ttl.as_secs(), 30);
/// // A name that gosd does not read is an error.
/// assert!(Environment::process().with("gosdLease", "30").is_err());
/// # Ok::<(), gosd::Error>(())
/// # }).unwrap();
/// ```
#[must_use]
#[derive(Clone)]
pub struct Environment {
    own: BTreeMap<&'static str, OsString>,
}

impl Environment {
    /// The variables of the process, unchanged.
    pub fn process() -> Self {
        Self { own: BTreeMap::new() }
    }

    /// Replaces the value of a variable.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if gosd has no variable with this name. The value is checked
    /// where it is used.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self> {
        let Some(name) = env::known().find(|known| *known == name) else {
            return Err(config(format!("gosd has no variable {name}")));
        };
        self.own.insert(name, value.into());
        Ok(self)
    }

    /// Whether one of gosd's variables has a value.
    pub fn is_set(&self, name: &str) -> bool {
        self.lookup()(name).is_some_and(|value| !value.is_empty())
    }

    /// As [`gosd::settings`](crate::settings).
    ///
    /// # Errors
    ///
    /// As for [`gosd::settings`](crate::settings).
    pub fn settings(&self) -> Result<Settings> {
        env::settings(&self.lookup())
    }

    /// Opens the driver that these variables choose, as [`Drivers::from_env`] does.
    ///
    /// # Errors
    ///
    /// As for [`Drivers::from_env`]; and [`Config`](crate::ErrorKind::Config) if `gosdNamespace` was given
    /// [here](Self::with) while the driver's URL has another namespace, which would win.
    pub async fn driver(&self, drivers: &Drivers) -> Result<Arc<dyn Driver>> {
        self.check_namespace(drivers)?;
        drivers.choose(&self.lookup()).await
    }

    /// Opens the databases that these variables choose as separate drivers: the one of `gosdDriver`, and the
    /// one of `gosdDriverAlso` if that is set.
    ///
    /// # Errors
    ///
    /// As for [`driver`](Self::driver).
    pub async fn databases(
        &self,
        drivers: &Drivers,
    ) -> Result<(Arc<dyn Driver>, Option<Arc<dyn Driver>>)> {
        self.check_namespace(drivers)?;
        drivers.databases(&self.lookup()).await
    }

    /// Returns an error if a namespace that was given here would not count.
    fn check_namespace(&self, drivers: &Drivers) -> Result<()> {
        let lookup = self.lookup();
        if let Some(namespace) = self.own.get(env::NAMESPACE) {
            for (variable, url) in env::databases(&lookup, drivers.default_scheme())? {
                let Ok(url) = DriverUrl::parse(&url) else { continue };
                if url.namespace()? != *namespace {
                    let (namespace, of_url) = (namespace.display(), url.namespace()?);
                    return Err(config(format!(
                        "the namespace {namespace} is asked for, and the URL of {variable} says \
                         {of_url}: leave one away"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The diagnosis of the database by the driver that these variables choose, for an operator who searches
    /// for a problem; of both databases, if there are two. A driver that is not compiled in finds nothing.
    ///
    /// This makes as many calls as necessary, and for Redis takes up to a third of `gosdLeaseTTL`: put it
    /// under a timeout.
    ///
    /// # Errors
    ///
    /// As for [`driver`](Self::driver), and for the driver's methods. If there are two databases, a failure of one
    /// is among the facts.
    pub async fn diagnose(&self) -> Result<Vec<Fact>> {
        let lookup = self.lookup();
        let lease = self.settings()?.lease_ttl;
        let mut facts = Vec::new();
        let databases = env::databases(&lookup, Drivers::compiled().default_scheme())?;
        let are_two = databases.len() > 1;
        for (variable, url) in databases {
            match diagnose(&url, lease).await {
                Ok(found) => facts.extend(found),
                // What is known of the other database helps all the same.
                Err(error) if are_two => facts.push(Fact::Trouble {
                    name: "not-checked",
                    what: format!("the database of {variable} could not be checked: {error}"),
                    advice:
                        "see that it runs and can be reached; `gosd doctor` with it alone says more"
                            .into(),
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(facts)
    }

    /// The namespace of the driver that these variables choose.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if a variable or the driver's URL cannot be read.
    pub fn namespace(&self, drivers: &Drivers) -> Result<String> {
        let databases = env::databases(&self.lookup(), drivers.default_scheme())?;
        match databases.into_iter().next() {
            Some((_, url)) => Ok(DriverUrl::parse(&url)?.namespace()?.to_owned()),
            None => Err(config("there is no driver to choose: gosdDriver is not set".to_owned())),
        }
    }

    /// As [`gosd::advertise`](crate::advertise).
    ///
    /// # Errors
    ///
    /// As for [`gosd::advertise`](crate::advertise).
    pub fn advertise(&self, bound: SocketAddr) -> Result<String> {
        advertise::advertise(bound, &self.lookup(), Drivers::compiled().default_scheme())
    }

    /// Checks whether other hosts can reach a URL, as [`gosd::start`](crate::start) does before it registers
    /// one. This looks a name up, which may block for a moment.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if the URL is on loopback, the database is on another host, and
    /// `gosdAdvertise` does not ask for that.
    pub fn check_reachable(&self, url: &str) -> Result<()> {
        let lookup = self.lookup();
        let databases = env::databases(&lookup, Drivers::compiled().default_scheme())?;
        databases.iter().try_for_each(|(_, database)| advertise::check(url, &lookup, database))
    }

    /// The variables of the process that look like gosd's but are not, each with the one that is probably
    /// meant.
    pub fn misspelt(&self) -> Vec<(String, String)> {
        let names = env::names();
        let found = misspelt::misspelt(&names);
        found.into_iter().map(|(name, meant)| (name.to_owned(), meant.to_owned())).collect()
    }

    fn lookup(&self) -> impl Fn(&str) -> Option<OsString> + Sync {
        |name| self.own.get(name).cloned().or_else(|| env::process(name))
    }
}

/// Shows no values, because some are secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("own", &self.own.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use gosd_core::{ErrorKind, Memory};

    use super::*;

    #[tokio::test]
    async fn a_namespace_that_would_not_count_is_an_error() {
        let drivers = Drivers::compiled()
            .with("mine", |_| Box::pin(async { Ok(Arc::new(Memory::new()) as Arc<dyn Driver>) }));
        for (url, fine) in
            [("mine:x", true), ("mine:x?namespace=blue", true), ("mine:x?namespace=green", false)]
        {
            let environment = Environment::process().with("gosdDriver", url).unwrap();
            environment.driver(&drivers).await.unwrap();
            let environment = environment.with("gosdNamespace", "blue").unwrap();
            match environment.driver(&drivers).await {
                Ok(_) => assert!(fine, "{url}"),
                Err(error) => assert!(!fine && error.kind() == ErrorKind::Config, "{url}: {error}"),
            }
        }
    }

    #[test]
    fn the_namespace_is_that_of_the_url_or_of_the_variable() {
        let namespace = |url: &str, own: Option<&str>| {
            let environment = Environment::process().with("gosdDriver", url).unwrap();
            let environment = match own {
                Some(own) => environment.with("gosdNamespace", own).unwrap(),
                None => environment,
            };
            environment.namespace(&Drivers::compiled())
        };
        assert_eq!(namespace("sqlite", None).unwrap(), "gosd");
        assert_eq!(namespace("redis://h", Some("blue")).unwrap(), "blue");
        assert_eq!(namespace("sqlite:x.db?namespace=green", None).unwrap(), "green");
        assert!(namespace("sqlite:x.db", Some("a/b")).is_err());
    }

    #[test]
    fn all_goes_by_the_values_given() {
        let bound = "0.0.0.0:80".parse().unwrap();
        let environment = Environment::process().with("gosdDriver", "redis://192.0.2.1").unwrap();
        assert!(environment.check_reachable("http://127.0.0.1:80").is_err());
        let environment = environment.with("gosdAdvertise", "localhost").unwrap();
        environment.check_reachable("http://localhost:80").unwrap();
        assert!(environment.is_set("gosdAdvertise") && !environment.is_set("gosdMaxStale"));
        assert_eq!(environment.advertise(bound).unwrap(), "http://localhost:80");
    }

    #[test]
    fn debug_shows_no_value() {
        let environment = Environment::process().with("gosdRedisPassword", "sesame").unwrap();
        let text = format!("{environment:?}");
        assert!(text.contains("gosdRedisPassword") && !text.contains("sesame"), "{text}");
    }
}
