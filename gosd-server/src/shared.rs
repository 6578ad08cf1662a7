use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use tokio::sync::watch;

use crate::feed::Feed;
use crate::limits::Clients;
use crate::problem::Problem;
use crate::settings::{Settings, check_namespace};

/// What all requests of a server share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clients: Clients,
    /// Becomes `true` when the server is to end, and the watchers' streams with it.
    pub(crate) closing: watch::Sender<bool>,
    feeds: Mutex<HashMap<String, Arc<Feed>>>,
    tags: RandomState,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        let feed = |(name, driver): (&String, &Arc<_>)| {
            (name.clone(), Arc::new(Feed::new(Arc::clone(driver))))
        };
        Self {
            clients: Clients::new(settings.limits.clone()),
            closing: watch::Sender::new(false),
            feeds: Mutex::new(settings.namespaces.iter().map(feed).collect()),
            tags: RandomState::new(),
            settings,
        }
    }

    /// The feed of a namespace, which may have to be made.
    pub(crate) fn feed(&self, namespace: &str) -> Result<Arc<Feed>, Problem> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(namespace) {
            return Ok(Arc::clone(feed));
        }
        let limit = self.settings.namespaces.len() + self.settings.limits.namespaces;
        let make = self.settings.make.as_ref().filter(|_| check_namespace(namespace).is_ok());
        match make.and_then(|make| make(namespace)) {
            None => Err(Problem::new(StatusCode::NOT_FOUND, "there is no such namespace")),
            Some(_) if feeds.len() >= limit => {
                Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "there are too many namespaces"))
            }
            Some(driver) => {
                let feed = Arc::new(Feed::new(driver));
                feeds.insert(namespace.to_owned(), Arc::clone(&feed));
                Ok(feed)
            }
        }
    }

    pub(crate) fn feeds(&self) -> Vec<Arc<Feed>> {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.values().cloned().collect()
    }

    /// The tag of a body. Nobody can make two bodies with one tag who does not know the keys.
    pub(crate) fn tag(&self, body: &str) -> String {
        format!("\"{:016x}{:x}\"", self.tags.hash_one(body), body.len())
    }
}
