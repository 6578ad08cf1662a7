use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::directory::{Directory, Services};
use super::slots::Slots;
use crate::{Change, Instance, InstanceId};

/// The instances by id, and their places in what readers see.
///
/// Changes are collected in drafts, which share what they do not touch, until they are published.
pub(super) struct Known {
    directory: Arc<Directory>,
    by_id: HashMap<ById, Place, RandomState>,
    drafts: Drafts,
    changes: Vec<Change>,
    mark: u32,
    /// What readers saw before, kept so that the last to let go of it is hardly ever a reader, whose
    /// pick would then take the time to free it.
    before: Option<Arc<Services>>,
}

type Drafts = HashMap<Arc<str>, Draft, RandomState>;

/// What a service is about to be.
struct Draft {
    /// The name as its instances and the readers share it.
    name: Arc<str>,
    slots: Slots<Arc<Instance>>,
}

/// An instance as a key: its id is not stored a second time.
struct ById(Arc<Instance>);

#[derive(Clone, Copy)]
struct Place {
    slot: u32,
    mark: u32,
}

impl Known {
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        Self {
            directory,
            by_id: HashMap::default(),
            drafts: Drafts::default(),
            changes: Vec::new(),
            mark: 0,
            before: None,
        }
    }

    pub(super) fn get(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.by_id.get_key_value(id.as_str()).map(|(ById(instance), _)| instance)
    }

    pub(super) fn contains(&self, id: &InstanceId) -> bool {
        self.by_id.contains_key(id.as_str())
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.by_id.keys().map(|ById(instance)| instance)
    }

    /// Adds an instance, or puts it in place of the one with its id; marks it.
    pub(super) fn put(&mut self, mut instance: Instance) {
        let Some((ById(before), place)) = self.by_id.get_key_value(instance.id().as_str()) else {
            let instance = self.add(instance);
            self.changes.push(Change::Added(instance));
            return;
        };
        if **before == instance {
            self.mark(instance.id());
        } else if before.service() == instance.service() {
            let slot = place.slot;
            let draft = draft(&mut self.drafts, &self.directory, instance.service());
            instance.intern_service(&draft.name);
            let instance = Arc::new(instance);
            draft.slots.set(slot as usize, Arc::clone(&instance));
            // Removed first, because inserting would keep the key that is there: the old instance.
            self.by_id.remove(instance.id().as_str());
            self.insert(&instance, slot);
            self.changes.push(Change::Updated(instance));
        } else {
            let id = instance.id().clone();
            self.cut(&id);
            let instance = self.add(instance);
            self.changes.push(Change::Updated(instance));
        }
    }

    /// Removes an instance, if it is there.
    pub(super) fn take(&mut self, id: &InstanceId) {
        if let Some(instance) = self.cut(id) {
            self.changes.push(Change::Removed(instance));
        }
    }

    /// Begins to mark what a snapshot of this size holds: from now on nothing is marked.
    pub(super) fn begin_mark(&mut self, size: usize) {
        self.mark = self.mark.wrapping_add(1);
        self.by_id.reserve(size.saturating_sub(self.by_id.len()));
    }

    pub(super) fn mark(&mut self, id: &InstanceId) {
        if let Some(place) = self.by_id.get_mut(id.as_str()) {
            place.mark = self.mark;
        }
    }

    pub(super) fn unmarked(&self) -> Vec<InstanceId> {
        let unmarked = self.by_id.iter().filter(|(_, place)| place.mark != self.mark);
        unmarked.map(|(ById(instance), _)| instance.id().clone()).collect()
    }

    /// Makes the changes since the last call visible to readers, and returns them; and whether a
    /// service came up that was not there before.
    pub(super) fn publish(&mut self) -> (Vec<Change>, bool) {
        let drafts = self.drafts.drain().map(|(name, draft)| (name, draft.slots));
        let (came, before) = self.directory.publish(drafts);
        self.before = before.or(self.before.take());
        (std::mem::take(&mut self.changes), came)
    }

    fn add(&mut self, mut instance: Instance) -> Arc<Instance> {
        let draft = draft(&mut self.drafts, &self.directory, instance.service());
        instance.intern_service(&draft.name);
        let instance = Arc::new(instance);
        let slot = draft.slots.push(Arc::clone(&instance));
        self.insert(
            &instance,
            u32::try_from(slot).expect("memory ends long before 2^32 instances"),
        );
        instance
    }

    fn insert(&mut self, instance: &Arc<Instance>, slot: u32) {
        self.by_id.insert(ById(Arc::clone(instance)), Place { slot, mark: self.mark });
    }

    fn cut(&mut self, id: &InstanceId) -> Option<Arc<Instance>> {
        let (ById(instance), place) = self.by_id.remove_entry(id.as_str())?;
        let draft = draft(&mut self.drafts, &self.directory, instance.service());
        if let Some(moved) = draft.slots.swap_remove(place.slot as usize)
            && let Some(its) = self.by_id.get_mut(moved.id().as_str())
        {
            its.slot = place.slot;
        }
        Some(instance)
    }
}

/// The draft of a service, begun from what readers see.
fn draft<'a>(drafts: &'a mut Drafts, directory: &Directory, service: &str) -> &'a mut Draft {
    if !drafts.contains_key(service) {
        let (name, slots) = directory.slots(service);
        drafts.insert(Arc::clone(&name), Draft { name, slots });
    }
    drafts.get_mut(service).expect("it was just put there")
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id().as_str()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().as_str().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}
