//! What readers share: by service, the instances in rotation and the cursor over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;

use super::slots::Slots;
use crate::Instance;

/// The services that have instances. Readers never lock; one writer at a time, under its own lock.
#[derive(Default)]
pub(crate) struct Directory {
    services: ArcSwap<HashTrieMapSync<Arc<str>, Arc<Entry>>>,
}

/// One service: what is in rotation, and whose turn it is.
pub(crate) struct Entry {
    cursor: Cursor,
    rotation: ArcSwap<Rotation>,
}

/// The counter of a service's picks, for all handles.
///
/// Alone on its cache line: beside the pointer to the rotation, every pick would take the pointer
/// away from the other cores.
#[repr(align(128))]
struct Cursor(AtomicUsize);

/// The instances of a service at one moment, in the order in which they are picked.
#[derive(Default)]
pub(crate) struct Rotation {
    slots: Slots<Arc<Instance>>,
    /// What to subtract from the cursor, so that a change of length does not move the turn.
    origin: usize,
}

impl Directory {
    pub(crate) fn find(&self, service: &str) -> Option<Arc<Entry>> {
        self.services.load().get(service).cloned()
    }

    /// Takes the next turn of a service.
    pub(crate) fn pick(&self, service: &str) -> Option<Arc<Instance>> {
        let services = self.services.load();
        let entry = services.get(service)?;
        entry.next(&entry.rotation.load()).cloned()
    }

    /// The instances of a service, in the order of their turns.
    pub(crate) fn instances(&self, service: &str) -> Vec<Arc<Instance>> {
        self.find(service)
            .map_or_else(Vec::new, |entry| entry.rotation.load().slots.iter().cloned().collect())
    }

    /// The names of the services, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let services = self.services.load();
        let mut names: Vec<String> = services.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// What is in rotation for a service, and its name as readers share it.
    pub(crate) fn slots(&self, service: &str) -> (Arc<str>, Slots<Arc<Instance>>) {
        match self.services.load().get_key_value(service) {
            Some((name, entry)) => (Arc::clone(name), entry.rotation.load().slots.clone()),
            None => (service.into(), Slots::default()),
        }
    }

    /// Makes a batch of changes visible: what is in rotation for each service that they touched.
    ///
    /// Returns whether a service came up that was not there before.
    pub(crate) fn publish(
        &self,
        changed: impl Iterator<Item = (Arc<str>, Slots<Arc<Instance>>)>,
    ) -> bool {
        let before = self.services.load_full();
        let mut after = HashTrieMapSync::clone(&before);
        let (mut came, mut went) = (false, false);
        for (name, slots) in changed {
            match before.get(&name) {
                // A handle may hold the entry: it sees that it is empty, and looks for the next.
                Some(entry) if slots.len() == 0 => {
                    entry.rotation.store(Arc::default());
                    went |= after.remove_mut(&name);
                }
                Some(entry) => entry.turn_over(slots),
                None if slots.len() == 0 => {}
                None => {
                    after.insert_mut(name, Arc::new(Entry::new(slots)));
                    came = true;
                }
            }
        }
        if came || went {
            self.services.store(Arc::new(after));
        }
        came
    }
}

impl Entry {
    fn new(slots: Slots<Arc<Instance>>) -> Self {
        // A random start, so that a fleet restarting together does not fall on one instance.
        let cursor = Cursor(AtomicUsize::new(fastrand::usize(..slots.len().max(1))));
        Self { cursor, rotation: ArcSwap::from_pointee(Rotation { slots, origin: 0 }) }
    }

    /// Puts other instances in rotation; the turn stays where it is, unless it fell off the end.
    fn turn_over(&self, slots: Slots<Arc<Instance>>) {
        let before = self.rotation.load();
        let ticket = self.cursor.0.load(Ordering::Relaxed);
        let turn = before.turn(ticket);
        let turn = if turn < slots.len() { turn } else { 0 };
        let origin = ticket.wrapping_sub(turn);
        self.rotation.store(Arc::new(Rotation { slots, origin }));
    }

    /// The instances in rotation, for handles that keep them cached.
    pub(crate) fn rotation(&self) -> &ArcSwap<Rotation> {
        &self.rotation
    }

    /// Takes the next turn of a rotation of this entry; `None` only if the rotation is empty.
    pub(crate) fn next<'a>(&self, rotation: &'a Rotation) -> Option<&'a Arc<Instance>> {
        let ticket = self.cursor.0.fetch_add(1, Ordering::Relaxed);
        rotation.slots.get(rotation.turn(ticket))
    }
}

impl Rotation {
    fn turn(&self, ticket: usize) -> usize {
        ticket.wrapping_sub(self.origin).checked_rem(self.slots.len()).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }
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

    fn pick(entry: &Entry) -> String {
        let rotation = entry.rotation.load();
        entry.next(&rotation).unwrap().id().to_string()
    }

    #[test]
    fn the_turn_goes_on_over_a_change_of_length() {
        let entry = Entry::new(instances(3));
        while pick(&entry) != "a-0" {}
        entry.turn_over(instances(5));
        let picks: Vec<_> = (0..6).map(|_| pick(&entry)).collect();
        assert_eq!(picks, ["a-1", "a-2", "a-3", "a-4", "a-0", "a-1"]);
        entry.turn_over(instances(2));
        let picks: Vec<_> = (0..3).map(|_| pick(&entry)).collect();
        assert_eq!(picks, ["a-0", "a-1", "a-0"], "the turn fell off the end");
    }

    #[test]
    fn the_first_turn_is_random() {
        let first = || pick(&Entry::new(instances(50)));
        let start = first();
        assert!((0..100).any(|_| first() != start));
    }

    #[test]
    fn the_counter_may_wrap() {
        let entry = Entry::new(instances(3));
        entry.cursor.0.store(usize::MAX - 1, Ordering::Relaxed);
        entry.turn_over(instances(3));
        let picks: Vec<_> = (0..4).map(|_| pick(&entry)).collect();
        let ids = ["a-0", "a-1", "a-2"];
        let start = ids.iter().position(|id| *id == picks[0]).unwrap();
        for (i, pick) in picks.iter().enumerate() {
            assert_eq!(pick, ids[(start + i) % 3]);
        }
    }

    #[test]
    fn an_emptied_service_is_forgotten() {
        let directory = Directory::default();
        directory.publish([("a".into(), instances(2))].into_iter());
        let entry = directory.find("a").unwrap();
        directory.publish([("a".into(), Slots::default())].into_iter());
        assert!(directory.find("a").is_none() && directory.names().is_empty());
        assert!(entry.rotation().load().is_empty());
    }
}
