//! The directory that all readers share: the rotations of all services.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use rpds::HashTrieMapSync;

use super::recent;
use super::rotation::{Places, Rotation, Standing};
use crate::{Instance, limits};

/// The services that have instances. Readers never lock; writers exclude each other by their own lock.
pub(crate) struct Directory {
    services: ArcSwap<Services>,
    /// A number that is different for each view that was ever visible. It changes after the services were replaced,
    /// so a reader that reads the number and then the services has the services of that number, or newer ones.
    version: AtomicU64,
}

/// The number of no version: what a handle knows that has not looked yet.
pub(crate) const NO_VERSION: u64 = 0;

/// Every service at one moment; a change shares what it does not touch.
pub(crate) type Services = HashTrieMapSync<Arc<str>, Arc<Rotation>, RandomState>;

/// A number that no version of any directory has had.
fn next_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(NO_VERSION);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            services: ArcSwap::from_pointee(Services::new_with_hasher_and_ptr_kind(
                RandomState::default(),
            )),
            version: AtomicU64::new(next_version()),
        }
    }
}

impl Directory {
    /// A number that changes with every change of the services, and that no other directory of the
    /// process has. Whoever picks looks at nothing else while it stays the same.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The services, borrowed for a moment.
    pub(crate) fn services(&self) -> Guard<Arc<Services>> {
        self.services.load()
    }

    /// Picks the next instance of a service in turn.
    pub(crate) fn pick(&self, service: &str) -> Option<Arc<Instance>> {
        recent::pick(self, service)
    }

    /// Takes the next turn of a service: its rotation, and the number of a slot.
    pub(crate) fn turn(&self, service: &str) -> Option<(Arc<Rotation>, usize)> {
        let services = self.services.load();
        let rotation = services.get(service)?;
        Some((Arc::clone(rotation), rotation.slot(rotation.take()?)))
    }

    /// The instances of a service: those in rotation, in the order of their turns, and the others.
    pub(crate) fn instances(&self, service: &str) -> Vec<Arc<Instance>> {
        match self.services.load().get(service) {
            Some(rotation) => rotation.places().iter().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// The instances of all services with this standing.
    pub(crate) fn that_are(&self, standing: Standing) -> Vec<Arc<Instance>> {
        let services = self.services.load();
        let lists = services.values().map(|rotation| rotation.places().list(standing));
        lists.flat_map(|list| list.iter().cloned()).collect()
    }

    /// The services but for the reserved ones, sorted by name.
    pub(crate) fn sorted(&self) -> Vec<(Arc<str>, Arc<Rotation>)> {
        let services = self.services.load();
        let open = services.iter().filter(|(name, _)| !limits::is_reserved(name));
        let mut sorted: Vec<_> =
            open.map(|(name, rotation)| (Arc::clone(name), Arc::clone(rotation))).collect();
        sorted.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        sorted
    }

    /// The names of the services but for the reserved ones, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.sorted().into_iter().map(|(name, _)| name.to_string()).collect()
    }

    /// The name of a service that differs from this one in case only.
    pub(crate) fn in_another_case(&self, service: &str) -> Option<Arc<str>> {
        let services = self.services.load();
        services.keys().find(|name| name.eq_ignore_ascii_case(service)).cloned()
    }

    /// The places of a service, and its name as readers share it.
    pub(super) fn places(&self, service: &str) -> (Arc<str>, Places) {
        match self.services.load().get_key_value(service) {
            Some((name, rotation)) => (Arc::clone(name), rotation.places().clone()),
            None => (service.into(), Places::default()),
        }
    }

    /// Makes a batch of changes visible at once: the places of the services they touched.
    ///
    /// What was visible until now goes to `old`, if anything changed.
    pub(super) fn publish(
        &self,
        changed: impl ExactSizeIterator<Item = (Arc<str>, Places)>,
        old: &mut OldViews,
    ) {
        if changed.len() == 0 {
            return;
        }
        let visible = self.services.load_full();
        let mut services = Services::clone(&visible);
        let mut go_on = Vec::with_capacity(changed.len());
        for (name, places) in changed {
            let before = visible.get(&name);
            old.rotations.extend(before.cloned());
            if places.len() == 0 {
                services.remove_mut(&name);
                continue;
            }
            let rotation = match before {
                Some(before) => before.with(places),
                None => Rotation::new(places),
            };
            go_on.extend(before.map(|before| (Arc::clone(&name), before)));
            services.insert_mut(name, Arc::new(rotation));
        }
        if go_on.len() > 1 {
            // Picks went on meanwhile and moved the turns, by the old lengths.
            for (name, before) in go_on {
                if let Some(rotation) = services.get_mut(&name).and_then(Arc::get_mut) {
                    rotation.catch_up(before);
                }
            }
        }
        self.services.store(Arc::new(services));
        self.version.store(next_version(), Ordering::Release);
        old.services.push(visible);
    }
}

/// The views that readers may still hold. A view is kept here until no reader holds it, so the last owner is
/// never a reader, whose pick would then take the time to free the view.
#[derive(Default)]
pub(super) struct OldViews {
    services: Vec<Arc<Services>>,
    rotations: Vec<Arc<Rotation>>,
}

impl OldViews {
    /// Frees the views that no reader holds any more.
    pub(super) fn free(&mut self) {
        // In this order, since services hold on to their rotations.
        self.services.retain(|services| Arc::strong_count(services) > 1);
        self.rotations.retain(|rotation| Arc::strong_count(rotation) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(count: usize) -> Places {
        let mut places = Places::default();
        for i in 0..count {
            let instance = Instance::from_parts(format!("a-{i}").into(), "a", "", [].into());
            places.list_mut(Standing::InRotation).push(Arc::new(instance));
        }
        places
    }

    fn publish(directory: &Directory, count: usize) {
        let old = &mut OldViews::default();
        directory.publish([("a".into(), instances(count))].into_iter(), old);
    }

    fn picks(directory: &Directory, count: usize) -> Vec<String> {
        (0..count).map(|_| directory.pick("a").unwrap().id().to_string()).collect()
    }

    #[test]
    fn the_turn_goes_on_over_a_change_of_length() {
        let directory = Directory::default();
        publish(&directory, 3);
        while picks(&directory, 1) != ["a-0"] {}
        publish(&directory, 5);
        assert_eq!(picks(&directory, 6), ["a-1", "a-2", "a-3", "a-4", "a-0", "a-1"]);
        publish(&directory, 2);
        assert_eq!(picks(&directory, 3), ["a-0", "a-1", "a-0"], "the turn fell off the end");
    }

    #[test]
    fn several_are_apart() {
        let (one, two) = (Directory::default(), Directory::default());
        publish(&one, 1);
        for count in 1..4 {
            assert_eq!(picks(&one, 2), ["a-0", "a-0"]);
            publish(&two, count);
            let mut seen = picks(&two, count);
            seen.sort_unstable();
            assert_eq!(seen, (0..count).map(|i| format!("a-{i}")).collect::<Vec<_>>());
            publish(&two, 0);
            assert!(two.pick("a").is_none());
        }
    }

    #[test]
    fn what_a_reader_holds_is_freed_by_the_writer() {
        let (directory, mut old) = (Directory::default(), OldViews::default());
        publish(&directory, 2);
        let (held, _) = directory.turn("a").unwrap();
        let gone = Arc::downgrade(&held);
        directory.publish([("a".into(), instances(1))].into_iter(), &mut old);
        old.free();
        drop(held);
        assert!(gone.upgrade().is_some(), "not by the reader");
        old.free();
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn the_first_turn_is_random() {
        let first = || {
            let directory = Directory::default();
            publish(&directory, 50);
            picks(&directory, 1)
        };
        let start = first();
        assert!((0..100).any(|_| first() != start));
    }

    #[test]
    fn an_emptied_service_is_forgotten() {
        let directory = Directory::default();
        publish(&directory, 2);
        publish(&directory, 0);
        assert!(directory.pick("a").is_none() && directory.names().is_empty());
        assert!(directory.services().is_empty());
    }
}
