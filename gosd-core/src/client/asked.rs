//! The services that the client was asked for, with the setting `watch_on_demand`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::state::State;
use crate::contract::DRAIN;
use crate::registry::Scope;
use crate::{Instance, Settings};

/// A client that was asked for more services than this watches everything.
const MOST: usize = 256;

/// The services that the client has to watch. They only grow, until they are everything.
pub(crate) struct Asked {
    scope: ArcSwap<Scope>,
    grown: Notify,
}

impl Asked {
    /// From the beginning a client asks for its own service, since it has to see what becomes of its
    /// registration, and for the drains, since they take instances of every service out of rotation.
    pub(super) fn new(settings: &Settings, own: Option<&Instance>) -> Self {
        let scope = match settings.watch_on_demand {
            false => Scope::Everything,
            true => Scope::Only(
                own.map(Instance::service)
                    .into_iter()
                    .chain([DRAIN])
                    .map(str::to_owned)
                    .collect::<BTreeSet<_>>(),
            ),
        };
        Self { scope: ArcSwap::from_pointee(scope), grown: Notify::new() }
    }

    pub(super) fn scope(&self) -> Arc<Scope> {
        self.scope.load_full()
    }

    /// Asks for a service from now on. A pick that finds nothing does so, and most times it only looks here.
    pub(super) fn ask(&self, service: &str) {
        // No service has an empty name, and there is no way to ask for one in a URL.
        if service.is_empty() || self.scope.load().includes(service) {
            return;
        }
        self.scope.rcu(|scope| match &**scope {
            Scope::Only(services) if services.len() < MOST => {
                let mut services = services.clone();
                services.insert(service.to_owned());
                Arc::new(Scope::Only(services))
            }
            Scope::Only(_) => Arc::new(Scope::Everything),
            Scope::Everything => Arc::clone(scope),
        });
        self.grown.notify_one();
    }

    /// Asks for every service from now on.
    pub(super) fn ask_for_everything(&self) {
        if *self.scope() != Scope::Everything {
            self.scope.store(Arc::new(Scope::Everything));
            self.grown.notify_one();
        }
    }

    /// Waits until more is asked for than before. Cancel-safe.
    pub(super) async fn grown(&self) {
        self.grown.notified().await;
    }
}

impl State {
    /// Notes that more services are asked for. An older view that is served may have them.
    pub(super) fn show_asked(&self) {
        self.step_if_open(|registry, _| ((), registry.show_asked(&self.asked.scope())));
    }

    /// Whether it is known which instances of a service there are, as far as there has been contact.
    pub(super) fn covers(&self, service: &str) -> bool {
        let core = self.lock();
        core.registry.never_reached().is_some() || core.registry.covers(service)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn on_demand() -> Asked {
        let own = Instance::new("mail", "http://h").unwrap();
        Asked::new(&Settings::default().watch_on_demand(true), Some(&own))
    }

    #[test]
    fn the_own_service_and_the_drains_are_always_asked_for() {
        let everything = Asked::new(&Settings::default(), None);
        assert_eq!(*everything.scope(), Scope::Everything);
        let asked = on_demand();
        assert!(asked.scope().includes("mail") && asked.scope().includes(DRAIN));
        assert!(!asked.scope().includes("web"));
    }

    #[test]
    fn each_new_service_is_told_once() {
        let asked = on_demand();
        for (service, is_new) in [("mail", false), ("web", true), ("web", false), ("", false)] {
            asked.ask(service);
            assert_eq!(asked.grown().now_or_never().is_some(), is_new, "{service}");
            assert_eq!(asked.scope().includes(service), !service.is_empty());
        }
        for is_new in [true, false] {
            asked.ask_for_everything();
            assert_eq!(asked.grown().now_or_never().is_some(), is_new);
        }
    }

    #[test]
    fn who_asks_for_very_many_watches_everything() {
        let asked = on_demand();
        (2..MOST).for_each(|n| asked.ask(&n.to_string()));
        assert!(matches!(&*asked.scope(), Scope::Only(services) if services.len() == MOST));
        asked.ask("one more");
        assert_eq!(*asked.scope(), Scope::Everything);
    }
}
