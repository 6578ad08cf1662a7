//! All instances of a registry, sorted, with the drains separate from the services.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gosd::{Instance, InstanceId};

/// The instances of a registry at one moment.
pub(crate) struct Listing {
    instances: Vec<Instance>,
    /// The ids of the records that drain instances.
    drains: BTreeSet<InstanceId>,
}

impl Listing {
    pub(crate) fn new(all: Vec<Instance>) -> Self {
        // Services with such names are gosd's own.
        let (own, mut instances): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|it| it.service().starts_with("gosd."));
        instances.sort_by(|a, b| (a.service(), a.id()).cmp(&(b.service(), b.id())));
        Self { instances, drains: own.iter().map(|it| it.id().clone()).collect() }
    }

    /// The instances of all services, or of one.
    pub(crate) fn of<'a>(
        &'a self,
        service: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Instance> + Clone {
        self.instances
            .iter()
            .filter(move |it| service.is_none_or(|service| it.service() == service))
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Instance> {
        self.instances.iter().find(|it| it.id().as_str() == id)
    }

    /// Whether a drain keeps the instance out of every client's rotation.
    pub(crate) fn is_drained(&self, instance: &Instance) -> bool {
        self.is_draining(instance.id())
    }

    /// Whether a drain exists for this id, registered or not.
    pub(crate) fn is_draining(&self, id: &InstanceId) -> bool {
        self.drains.contains(Instance::drain_of(id).id())
    }
}

/// When the id of an instance was generated, in ms since 1970; `None` for ids of other software.
pub(crate) fn started_ms(id: &InstanceId) -> Option<u64> {
    // A UUIDv7 begins with the time.
    let unique = id.is_generated().then(|| id.as_str().rsplit_once('-')).flatten()?.1;
    u64::from_str_radix(unique.get(..12)?, 16).ok()
}

/// How old an instance is by this host's clock.
pub(crate) fn age(id: &InstanceId) -> Option<Duration> {
    let started = UNIX_EPOCH + Duration::from_millis(started_ms(id)?);
    // An id from the future comes from a host whose clock is ahead.
    Some(SystemTime::now().duration_since(started).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_contains_the_time_at_which_it_was_generated() {
        let id = InstanceId::from("mail-0199f3a0c5b07abc8def0123456789ab");
        assert_eq!(started_ms(&id), Some(0x0199_f3a0_c5b0));
        assert!(age(&id).is_some());
        let new = Instance::new("mail", "http://h").unwrap();
        assert!(age(new.id()).unwrap() < Duration::from_secs(60));
        assert_eq!(started_ms(&InstanceId::from("mail-20160315122936.17256541")), None);
    }
}
