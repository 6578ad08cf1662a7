//! The instances that may still be registered in a namespace that is nearly full.

use std::collections::HashMap;
use std::time::Duration;

use gosd_core::{Event, InstanceId};
use tokio::time::Instant;

/// The places of a namespace that are taken by registrations which its log does not show yet.
///
/// A registration that failed keeps its place as well, because it may have reached the backend nonetheless.
#[derive(Default)]
pub(crate) struct Places(HashMap<InstanceId, Instant>);

impl Places {
    /// Takes one of so many places, unless all are taken. The place is free again when the lease ends.
    pub(crate) fn take(&mut self, places: usize, id: &InstanceId, lease: Duration) -> bool {
        let now = Instant::now();
        if self.0.len() >= places {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= places && !self.0.contains_key(id) {
            return false;
        }
        self.0.insert(id.clone(), now + lease);
        true
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        let now = Instant::now();
        self.0.retain(|_, until| *until > now);
        self.0.is_empty()
    }

    /// Frees the places of instances that the log shows from now on, or that have gone.
    pub(crate) fn give_back(&mut self, event: &Event) {
        match event {
            Event::Put(instance) => drop(self.0.remove(instance.id())),
            Event::Remove(id) | Event::Expire(id) => drop(self.0.remove(id)),
            Event::Reset(all) if !self.0.is_empty() => {
                for instance in all {
                    self.0.remove(instance.id());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use gosd_core::Instance;

    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn instance() -> Instance {
        Instance::new("mail", "http://h").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_the_log_has_it_or_the_lease_is_over() {
        let mut places = Places::default();
        let [a, b, c] = [instance(), instance(), instance()];
        assert!(places.take(2, a.id(), LEASE) && places.take(2, b.id(), LEASE));
        assert!(!places.take(2, c.id(), LEASE));
        assert!(places.take(2, a.id(), LEASE), "it has its place already");
        for event in [
            Event::Put(a.clone()),
            Event::Remove(a.id().clone()),
            Event::Expire(a.id().clone()),
            Event::Reset(vec![c.clone(), a.clone()]),
        ] {
            places.give_back(&event);
            assert!(places.take(2, c.id(), LEASE), "{event:?}");
            places.give_back(&Event::Expire(c.id().clone()));
            assert!(places.take(2, a.id(), LEASE));
        }
        places.give_back(&Event::Reset(Vec::new()));
        assert!(!places.take(2, c.id(), LEASE), "a snapshot may be older than a registration");
        tokio::time::advance(LEASE).await;
        assert!(places.take(2, c.id(), LEASE));
    }
}
