//! What readers share: the rotations of all services.

use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use foldhash::fast::RandomState;
use rpds::HashTrieMapSync;

use super::rotation::{Places, Rotation, Standing};
use crate::{Instance, limits};

/// The services that have instances. Readers never lock; writers take turns, under their own lock.
pub(crate) struct Directory {
    services: Arc<ArcSwap<Services>>,
}

thread_local! {
    /// What this thread picked from last: checking that it is current costs less than loading it.
    ///
    /// One for all clients, so that a thread holds on to no more than one view.
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

type Last = Cache<Arc<ArcSwap<Services>>, Arc<Services>>;

/// Every service at one moment; a change shares what it does not touch.
pub(crate) type Services = HashTrieMapSync<Arc<str>, Arc<Rotation>, RandomState>;

impl Default for Directory {
    fn default() -> Self {
        Self {
            services: Arc::new(ArcSwap::from_pointee(Services::new_with_hasher_and_ptr_kind(
                RandomState::default(),
            ))),
        }
    }
}

impl Directory {
    /// The services, for handles that keep them cached.
    pub(crate) fn services(&self) -> &ArcSwap<Services> {
        &self.services
    }

    /// Picks the next instance of a service in turn.
    pub(crate) fn pick(&self, service: &str) -> Option<Arc<Instance>> {
        self.look(|services| {
            let rotation = services.get(service)?;
            rotation.slots().get(rotation.take()?).cloned()
        })
    }

    /// Takes the next turn of a service: its rotation, and the number of a slot.
    pub(crate) fn turn(&self, service: &str) -> Option<(Arc<Rotation>, usize)> {
        self.look(|services| {
            let rotation = services.get(service)?;
            Some((Arc::clone(rotation), rotation.take()?))
        })
    }

    /// Looks at the services by way of what the thread keeps.
    #[inline]
    fn look<T>(&self, find: impl Fn(&Services) -> T) -> T {
        // Without a cache if the thread is ending and its cache is gone.
        LAST.try_with(|last| match &mut *last.borrow_mut() {
            Some(last) if ptr::eq(last.arc_swap(), &*self.services) => find(last.load()),
            last => find(last.insert(Cache::new(Arc::clone(&self.services))).load()),
        })
        .unwrap_or_else(|_| find(&self.services.load()))
    }

    /// The instances of a service: those in rotation, in the order of their turns, and the others.
    pub(crate) fn instances(&self, service: &str) -> Vec<Arc<Instance>> {
        match self.services.load().get(service) {
            Some(rotation) => rotation.places().iter().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// The instances of all services that stand so.
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
    /// Returns what was visible until now, if anything changed.
    pub(super) fn publish(
        &self,
        changed: impl ExactSizeIterator<Item = (Arc<str>, Places)>,
    ) -> Option<Arc<Services>> {
        if changed.len() == 0 {
            return None;
        }
        let visible = self.services.load_full();
        let mut services = Services::clone(&visible);
        let mut go_on = Vec::with_capacity(changed.len());
        for (name, places) in changed {
            let before = visible.get(&name);
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
            // All that time there were picks, which moved the turns on by the old lengths.
            for (name, before) in go_on {
                if let Some(rotation) = services.get_mut(&name).and_then(Arc::get_mut) {
                    rotation.catch_up(before);
                }
            }
        }
        self.services.store(Arc::new(services));
        Some(visible)
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
        directory.publish([("a".into(), instances(count))].into_iter());
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
    fn a_thread_may_pick_from_several_by_turns() {
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
    fn a_pick_while_the_thread_ends_needs_no_cache() {
        struct AtTheEnd(Arc<Directory>, std::sync::mpsc::Sender<bool>);
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                self.1.send(self.0.pick("a").is_some()).unwrap();
            }
        }
        thread_local!(static EARLIER: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) });
        let directory = Arc::new(Directory::default());
        publish(&directory, 1);
        let (sender, picked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Whichever of the two the thread drops first, both orders are tried.
            EARLIER.set(Some(AtTheEnd(Arc::clone(&directory), sender.clone())));
            assert!(directory.pick("a").is_some());
            thread_local!(static LATER: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) });
            LATER.set(Some(AtTheEnd(directory, sender)));
        })
        .join()
        .unwrap();
        assert_eq!(picked.iter().collect::<Vec<_>>(), [true, true]);
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
        assert!(directory.services().load().is_empty());
    }
}
