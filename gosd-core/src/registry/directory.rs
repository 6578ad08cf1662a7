//! What readers share: the instances in rotation by service, and the cursors over them.

use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Cache};
use foldhash::fast::RandomState;
use rpds::HashTrieMapSync;

use super::slots::{Leaf, Slots};
use crate::Instance;

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

/// The instances of one service at one moment, in the order in which they are picked.
pub(crate) struct Rotation {
    turns: Turns,
    // An instance that a process skips for a while would be left out here, and here alone: the pick
    // pays nothing for it.
    slots: Slots<Arc<Instance>>,
}

/// Whose turn it is, among so many.
#[derive(Clone)]
pub(crate) struct Turns {
    cursor: Arc<Cursor>,
    /// What to subtract from the cursor, so that a change of length does not move the turn.
    origin: usize,
    len: usize,
}

/// The counter of a service's picks, for all handles and all that ever comes into rotation.
///
/// Alone on its cache lines: what is read beside it would leave the other cores with every pick.
#[repr(align(128))]
struct Cursor(AtomicUsize);

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

    /// Takes the next turn of a service.
    pub(crate) fn pick(&self, service: &str) -> Option<Arc<Instance>> {
        // Without a cache if the thread is ending and its cache is gone.
        LAST.try_with(|last| match &mut *last.borrow_mut() {
            Some(last) if ptr::eq(last.arc_swap(), &*self.services) => next(last.load(), service),
            last => next(last.insert(Cache::new(Arc::clone(&self.services))).load(), service),
        })
        .unwrap_or_else(|_| next(&self.services.load(), service))
    }

    /// The instances of a service, in the order of their turns.
    pub(crate) fn instances(&self, service: &str) -> Vec<Arc<Instance>> {
        match self.services.load().get(service) {
            Some(rotation) => rotation.slots.iter().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// The names of the services, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.services.load().keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// The name of a service that differs from this one in case only.
    pub(crate) fn in_another_case(&self, service: &str) -> Option<Arc<str>> {
        let services = self.services.load();
        services.keys().find(|name| name.eq_ignore_ascii_case(service)).cloned()
    }

    /// What is in rotation for a service, and its name as readers share it.
    pub(super) fn slots(&self, service: &str) -> (Arc<str>, Slots<Arc<Instance>>) {
        match self.services.load().get_key_value(service) {
            Some((name, rotation)) => (Arc::clone(name), rotation.slots.clone()),
            None => (service.into(), Slots::default()),
        }
    }

    /// Makes a batch of changes visible at once: what is in rotation for the services they touched.
    ///
    /// Returns whether a service came up that was not there before, and what was visible until now.
    pub(super) fn publish(
        &self,
        changed: impl ExactSizeIterator<Item = (Arc<str>, Slots<Arc<Instance>>)>,
    ) -> (bool, Option<Arc<Services>>) {
        if changed.len() == 0 {
            return (false, None);
        }
        let mut services = Services::clone(&self.services.load());
        let mut came = false;
        for (name, slots) in changed {
            let before = services.get(&name);
            came |= before.is_none() && slots.len() > 0;
            if slots.len() > 0 {
                let rotation = match before {
                    Some(before) => before.with(slots),
                    None => Rotation::new(slots),
                };
                services.insert_mut(name, Arc::new(rotation));
            } else {
                services.remove_mut(&name);
            }
        }
        (came, Some(self.services.swap(Arc::new(services))))
    }
}

impl Rotation {
    fn new(slots: Slots<Arc<Instance>>) -> Self {
        Self { turns: Turns::new(slots.len()), slots }
    }

    /// Other instances in the same rotation; the turn stays where it is, unless it fell off the end.
    fn with(&self, slots: Slots<Arc<Instance>>) -> Self {
        Self { turns: self.turns.among(slots.len()), slots }
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Some slots around the one given, and the number of the first, for handles to keep cached.
    pub(crate) fn leaf(&self, slot: usize) -> Option<(&Arc<Leaf<Arc<Instance>>>, usize)> {
        self.slots.leaf(slot)
    }
}

impl Turns {
    fn new(len: usize) -> Self {
        // A random start, so that a fleet restarting together does not fall on one instance.
        let start = fastrand::usize(..len);
        Self { cursor: Arc::new(Cursor(AtomicUsize::new(start))), origin: 0, len }
    }

    fn among(&self, len: usize) -> Self {
        let ticket = self.cursor.0.load(Ordering::Relaxed);
        let slot = self.slot(ticket);
        let slot = if slot < len { slot } else { 0 };
        Self { cursor: Arc::clone(&self.cursor), origin: ticket.wrapping_sub(slot), len }
    }

    /// Takes the next turn: the number of a slot.
    pub(crate) fn take(&self) -> usize {
        self.slot(self.cursor.0.fetch_add(1, Ordering::Relaxed))
    }

    fn slot(&self, ticket: usize) -> usize {
        // A rotation is never empty.
        ticket.wrapping_sub(self.origin) % self.len.max(1)
    }
}

fn next(services: &Services, service: &str) -> Option<Arc<Instance>> {
    let rotation = services.get(service)?;
    rotation.slots.get(rotation.turns.take()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(count: usize) -> Slots<Arc<Instance>> {
        let mut slots = Slots::default();
        for i in 0..count {
            let instance = Instance::from_parts(format!("a-{i}").into(), "a", "", [].into());
            slots.push(Arc::new(instance));
        }
        slots
    }

    fn publish(directory: &Directory, count: usize) -> bool {
        directory.publish([("a".into(), instances(count))].into_iter()).0
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
    fn the_counter_may_wrap() {
        let mut turns = Turns::new(3);
        turns.cursor.0.store(usize::MAX - 1, Ordering::Relaxed);
        turns = turns.among(3);
        let turns: Vec<_> = (0..4).map(|_| turns.take()).collect();
        for (turn, next) in turns.iter().zip(&turns[1..]) {
            assert_eq!((turn + 1) % 3, *next);
        }
    }

    #[test]
    fn an_emptied_service_is_forgotten() {
        let directory = Directory::default();
        assert!(publish(&directory, 2) && !publish(&directory, 3));
        publish(&directory, 0);
        assert!(directory.pick("a").is_none() && directory.names().is_empty());
        assert!(publish(&directory, 1), "it is new again");
    }
}
