//! The namespaces of a server: those of its settings, and those that clients have created.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use gosd_core::Driver;
use tokio::time::Instant;

use crate::auth::Access;
use crate::feed::{Common, Feed};
use crate::problem::{Problem, Refusal};
use crate::settings::{Make, Settings, check_namespace};

/// How long a created namespace stays open without use, in case a client comes back.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) struct Namespaces {
    make: Option<Make>,
    /// How many created namespaces of each kind there may be.
    limit: usize,
    common: Common,
    fixed: HashMap<String, Arc<Feed>>,
    made: Mutex<HashMap<String, Made>>,
}

/// A namespace that was created for a client.
struct Made {
    feed: Arc<Feed>,
    /// Whether a client has registered there. A namespace that was only read has no state beyond the
    /// database, so it is closed when its place is needed.
    access: Access,
    used_at: Instant,
}

impl Made {
    fn is_used(&self) -> bool {
        // Requests and watchers hold the feed as well.
        Arc::strong_count(&self.feed) > 1
    }

    fn may_be_closed(&self) -> bool {
        !self.is_used() && (self.access == Access::Read || self.feed.is_empty())
    }
}

impl Namespaces {
    pub(crate) fn new(settings: &Settings) -> Self {
        let common = Common::default();
        let fixed = settings
            .namespaces
            .iter()
            .map(|(name, driver)| (name.clone(), Arc::new(Feed::new(Arc::clone(driver), &common))));
        let fixed = fixed.collect();
        let (make, limit) = (settings.make.clone(), settings.limits.namespaces);
        Self { make, limit, common, fixed, made: Mutex::default() }
    }

    /// The feed of a namespace, which is created if necessary.
    ///
    /// Namespaces with registrations and namespaces that are only read have separate places, so that a client
    /// that reads any number of names keeps nobody from registering.
    pub(crate) fn feed(&self, name: &str, access: Access) -> Result<Arc<Feed>, Problem> {
        if let Some(feed) = self.fixed.get(name) {
            return Ok(Arc::clone(feed));
        }
        let mut made = self.made();
        let now = Instant::now();
        made.retain(|_, one| now.duration_since(one.used_at) < IDLE || !one.may_be_closed());
        if let Some(one) = made.get_mut(name)
            && one.access >= access
        {
            one.used_at = now;
            return Ok(Arc::clone(&one.feed));
        }
        let feed = match made.get(name) {
            Some(one) => Arc::clone(&one.feed),
            None => Arc::new(Feed::new(self.make(name)?, &self.common)),
        };
        self.make_room(&mut made, access)?;
        let one = Made { feed: Arc::clone(&feed), access, used_at: now };
        made.insert(name.to_owned(), one);
        Ok(feed)
    }

    /// Refuses a name that cannot be a namespace of this server. Creates none.
    pub(crate) fn check(&self, name: &str) -> Result<(), Problem> {
        let may_be_made = self.make.is_some() && check_namespace(name).is_ok();
        if may_be_made || self.fixed.contains_key(name) { Ok(()) } else { Err(none()) }
    }

    /// The namespaces that the server's health depends on: those of its settings, and those with
    /// registrations.
    pub(crate) fn vital(&self) -> Vec<(String, Arc<Feed>)> {
        let made = self.made();
        let written = made.iter().filter(|(_, one)| one.access == Access::Write);
        let written = written.map(|(name, one)| (name, &one.feed));
        let all = self.fixed.iter().chain(written);
        all.map(|(name, feed)| (name.clone(), Arc::clone(feed))).collect()
    }

    /// The names of those namespaces, the ones of the settings first.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.vital().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable_by_key(|name| (!self.fixed.contains_key(name), name.clone()));
        names
    }

    /// The number of open namespaces.
    pub(crate) fn count(&self) -> usize {
        self.fixed.len() + self.made().len()
    }

    fn made(&self) -> MutexGuard<'_, HashMap<String, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, name: &str) -> Result<Arc<dyn Driver>, Problem> {
        let make = self.make.as_ref().filter(|_| check_namespace(name).is_ok());
        make.and_then(|make| make(name)).ok_or_else(none)
    }

    /// If all places are taken, closes a namespace that is not needed.
    fn make_room(&self, made: &mut HashMap<String, Made>, access: Access) -> Result<(), Problem> {
        let alike = made.iter().filter(|(_, one)| one.access == access);
        if alike.clone().count() < self.limit {
            return Ok(());
        }
        let unneeded = alike.filter(|(_, one)| one.may_be_closed());
        match unneeded.min_by_key(|(_, one)| one.used_at).map(|(name, _)| name.clone()) {
            Some(name) => drop(made.remove(&name)),
            None => {
                let detail = "there are too many namespaces";
                return Err(Problem::refused(Refusal::Namespaces, detail));
            }
        }
        Ok(())
    }
}

fn none() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such namespace")
}

#[cfg(test)]
mod tests {
    use gosd_core::{Instance, Memory};

    use super::*;
    use crate::limits::Limits;

    const LEASE: Duration = Duration::from_secs(600);

    fn namespaces() -> Namespaces {
        let memory = Memory::new();
        let limits = Limits { namespaces: 2, ..Limits::default() };
        let settings = Settings::new().limits(limits);
        Namespaces::new(&settings.namespaces(move |_| Some(Arc::new(memory.clone()))))
    }

    impl Namespaces {
        fn made_names(&self) -> Vec<String> {
            let mut names: Vec<String> = self.made().keys().cloned().collect();
            names.sort_unstable();
            names
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readers_take_no_place_from_clients_that_register() {
        let namespaces = namespaces();
        for n in 0..100 {
            namespaces.feed(&format!("x{n}"), Access::Read).unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(namespaces.made_names(), ["x98", "x99"]);
        let read = [
            namespaces.feed("a", Access::Read).unwrap(),
            namespaces.feed("b", Access::Read).unwrap(),
        ];
        assert!(namespaces.feed("c", Access::Read).is_err(), "both are being read");
        assert_eq!(namespaces.names(), [""; 0], "nobody is meant to register there");
        assert_eq!(namespaces.vital().len(), 0);
        namespaces.feed("c", Access::Write).unwrap();
        let written = namespaces.feed("a", Access::Write).unwrap();
        assert!(Arc::ptr_eq(&written, &read[0]), "it is one namespace for all");
        assert_eq!(namespaces.names(), ["a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn unused_namespaces_are_closed_and_those_with_instances_stay() {
        let namespaces = namespaces();
        let full = namespaces.feed("full", Access::Write).unwrap();
        let mail = Instance::new("mail", "http://h").unwrap();
        assert!(full.admit(10, mail.id(), LEASE).await.unwrap());
        drop(full);
        namespaces.feed("empty", Access::Write).unwrap();
        namespaces.feed("next", Access::Write).unwrap();
        assert_eq!(namespaces.made_names(), ["full", "next"]);
        let next = namespaces.feed("next", Access::Write).unwrap();
        assert!(namespaces.feed("one-more", Access::Write).is_err());
        drop(next);
        tokio::time::advance(IDLE).await;
        namespaces.feed("read", Access::Read).unwrap();
        assert_eq!(namespaces.made_names(), ["full", "read"]);
        tokio::time::advance(LEASE).await;
        namespaces.feed("other", Access::Read).unwrap();
        assert_eq!(namespaces.made_names(), ["other"]);
    }
}
