//! A thread's cache of the services that it picked from last, by name.
//!
//! Without it, each pick would count one more reference to the view of all services, and one less, in memory
//! that all threads write, and would search the view for the service.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::directory::Directory;
use super::picker::Picker;
use crate::Instance;

/// The number of sets. A name always belongs to the same set.
const SETS: usize = 16;
/// How many services a set keeps.
const WAYS: usize = 4;

type Set = [Option<Recent>; WAYS];

thread_local! {
    static RECENT: RefCell<[Set; SETS]> =
        const { RefCell::new([const { [const { None }; WAYS] }; SETS]) };
}

/// A service, and the instances around the turn that was taken last, at most as many as a leaf holds. So a
/// thread that never picks again keeps little alive.
struct Recent {
    hash: u64,
    name: Arc<str>,
    /// The version of one client's services. No two clients have the same version.
    version: u64,
    picker: Picker,
}

/// Picks the next instance of a service in turn.
pub(super) fn pick(directory: &Directory, service: &str) -> Option<Arc<Instance>> {
    let hash = hash(service);
    let picked = RECENT.try_with(|recent| {
        let set = &mut recent.borrow_mut()[hash as usize % SETS];
        let version = directory.version();
        let known = set
            .iter()
            .flatten()
            .find(|it| it.hash == hash && it.version == version && *it.name == *service);
        let Some(known) = known else { return pick_anew(set, directory, service, hash, None) };
        let ticket = known.picker.take();
        match known.picker.at(known.picker.slot(ticket)) {
            Some(instance) => Some(Arc::clone(instance)),
            None => pick_anew(set, directory, service, hash, Some(ticket)),
        }
    });
    // A thread that is about to end has no thread-locals any more.
    picked.unwrap_or_else(|_| pick_anew(&mut Set::default(), directory, service, hash, None))
}

/// Picks from what is visible now, with the ticket if one was taken, and caches the instances around that
/// turn.
#[cold]
fn pick_anew(
    set: &mut Set,
    directory: &Directory,
    service: &str,
    hash: u64,
    ticket: Option<usize>,
) -> Option<Arc<Instance>> {
    let its_own = |it: &Option<Recent>| it.as_ref().is_some_and(|it| *it.name == *service);
    let before = set.iter().position(its_own);
    // Read before the services, which may then be newer and are looked up once more.
    let version = directory.version();
    let services = directory.services();
    let Some((name, rotation)) = services.get_key_value(service) else {
        before.map(|way| set[way].take());
        return None;
    };
    let known = before.and_then(|way| set[way].as_ref());
    // The turns of a service that was gone in between begin again.
    let ticket = ticket.filter(|_| known.is_some_and(|it| it.picker.is_of(rotation)));
    let ticket = ticket.or_else(|| rotation.take())?;
    let slot = rotation.slot(ticket);
    let picker = Picker::around(rotation, slot)?;
    let instance = picker.at(slot).cloned();
    let way = before.or_else(|| set.iter().position(Option::is_none));
    let recent = Recent { hash, name: Arc::clone(name), version, picker };
    set[way.unwrap_or_else(|| fastrand::usize(..WAYS))] = Some(recent);
    instance
}

fn hash(service: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(service.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::{Weak, mpsc};
    use std::thread;

    use super::super::directory::OldViews;
    use super::super::rotation::{Places, Standing};
    use super::*;

    fn publish(directory: &Directory, service: &str, instances: &[Arc<Instance>]) {
        let mut places = Places::default();
        for instance in instances {
            places.list_mut(Standing::InRotation).push(Arc::clone(instance));
        }
        let mut old = OldViews::default();
        directory.publish([(service.into(), places)].into_iter(), &mut old);
    }

    fn instances(service: &str, count: usize) -> Vec<Arc<Instance>> {
        let make = |i| Instance::from_parts(format!("{i}").into(), service, "", [].into());
        (0..count).map(|i| Arc::new(make(i))).collect()
    }

    fn number(instance: &Instance) -> usize {
        instance.id().as_str().parse().unwrap()
    }

    #[test]
    fn the_turn_goes_on_over_the_end_of_a_leaf() {
        let directory = Directory::default();
        publish(&directory, "a", &instances("a", 150));
        let first = number(&directory.pick("a").unwrap());
        for turn in first + 1..first + 400 {
            assert_eq!(number(&directory.pick("a").unwrap()), turn % 150);
        }
    }

    #[test]
    fn of_more_services_than_a_thread_keeps_each_has_its_turns() {
        let directory = Directory::default();
        let names: Vec<_> = (0..10 * SETS * WAYS).map(|i| format!("service-{i}")).collect();
        for name in &names {
            publish(&directory, name, &instances(name, 3));
        }
        let pick = |name: &String| {
            let picked = directory.pick(name).unwrap();
            assert_eq!(picked.service(), name);
            number(&picked)
        };
        let mut last: Vec<_> = names.iter().map(pick).collect();
        for _ in 0..4 {
            for (name, last) in names.iter().zip(&mut last) {
                *last = (*last + 1) % 3;
                assert_eq!(pick(name), *last, "{name}");
            }
        }
    }

    #[test]
    fn a_thread_holds_on_to_one_leaf_at_the_most_and_only_until_it_picks_again() {
        let directory = Directory::default();
        let all = instances("a", 1_000);
        publish(&directory, "a", &all);
        let held: Vec<_> = all.iter().map(Arc::downgrade).collect();
        drop(all);
        for _ in 0..1_000 {
            directory.pick("a").unwrap();
        }
        publish(&directory, "a", &[]);
        let alive = || held.iter().filter_map(Weak::upgrade).count();
        assert!((1..=64).contains(&alive()), "{}", alive());
        assert!(directory.pick("a").is_none());
        assert_eq!(alive(), 0);
    }

    #[test]
    fn the_clients_of_a_thread_are_apart() {
        let directories = [Directory::default(), Directory::default()];
        for _ in 0..3 {
            let apart = directories.each_ref().map(|directory| {
                let its_own = instances("a", 1);
                publish(directory, "a", &its_own);
                (directory, its_own)
            });
            for (directory, its_own) in apart.iter().chain(&apart) {
                assert!(Arc::ptr_eq(&directory.pick("a").unwrap(), &its_own[0]));
            }
        }
    }

    #[test]
    fn a_service_that_was_gone_begins_anew() {
        let directory = Directory::default();
        for count in [1, 150, 3, 70] {
            publish(&directory, "a", &instances("a", count));
            let mut seen: Vec<_> =
                (0..count).map(|_| number(&directory.pick("a").unwrap())).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..count));
            publish(&directory, "a", &[]);
        }
    }

    #[test]
    fn a_thread_that_is_about_to_end_picks_all_the_same() {
        struct AtTheEnd(Arc<Directory>, mpsc::Sender<bool>);
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                self.1.send(self.0.pick("a").is_some()).unwrap();
            }
        }
        thread_local! {
            static EARLIER: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
            static LATER: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
        }
        let directory = Arc::new(Directory::default());
        publish(&directory, "a", &instances("a", 1));
        let (sender, picked) = mpsc::channel();
        let end = move || {
            // Whichever order the thread drops them in, one of them is dropped after the cache.
            EARLIER.set(Some(AtTheEnd(Arc::clone(&directory), sender.clone())));
            assert!(directory.pick("a").is_some());
            LATER.set(Some(AtTheEnd(directory, sender)));
        };
        thread::spawn(end).join().unwrap();
        assert_eq!(picked.iter().collect::<Vec<_>>(), [true, true]);
    }
}
