//! The instances that a client knows, from which the rotations for readers are made.

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::directory::{Directory, OldViews};
use super::rotation::{Places, Standing};
use crate::{Change, Instance, InstanceId, limits};

/// The instances by id, and their places in what readers see.
///
/// Changes are collected in drafts, which share what they do not touch, until they are published.
pub(super) struct Known {
    directory: Arc<Directory>,
    by_id: HashMap<ById, Place, RandomState>,
    drafts: Drafts,
    changes: Vec<Change>,
    mark: u16,
    old_views: OldViews,
}

type Drafts = HashMap<Arc<str>, Draft, RandomState>;

/// The next version of a service, not yet published.
struct Draft {
    /// The name as its instances and the readers share it.
    name: Arc<str>,
    places: Places,
}

/// An instance as a key: its id is not stored a second time.
struct ById(Arc<Instance>);

struct Place {
    slot: u32,
    /// A cell, so that whoever has found the instance to compare it marks it without a second search.
    mark: Cell<u16>,
    standing: Standing,
}

impl Known {
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        Self {
            directory,
            by_id: HashMap::default(),
            drafts: Drafts::default(),
            changes: Vec::new(),
            mark: 0,
            old_views: OldViews::default(),
        }
    }

    pub(super) fn get(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.by_id.get_key_value(id.as_str()).map(|(ById(instance), _)| instance)
    }

    pub(super) fn contains(&self, id: &InstanceId) -> bool {
        self.by_id.contains_key(id.as_str())
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.standings().map(|(instance, _)| instance)
    }

    /// The instances, each with its standing.
    pub(super) fn standings(&self) -> impl Iterator<Item = (&Arc<Instance>, Standing)> {
        self.by_id.iter().map(|(ById(instance), place)| (instance, place.standing))
    }

    /// Adds an instance, or replaces the one with its id; marks it.
    pub(super) fn put(&mut self, mut instance: Instance) {
        let Some((ById(before), place)) = self.by_id.get_key_value(instance.id().as_str()) else {
            let instance = self.add(instance, Standing::InRotation);
            self.changes.push(Change::Added(instance));
            return;
        };
        if **before == instance {
            place.mark.set(self.mark);
        } else if before.service() == instance.service() {
            let (slot, standing) = (place.slot, place.standing);
            let draft = draft(&mut self.drafts, &self.directory, instance.service());
            instance.intern_service(&draft.name);
            let instance = Arc::new(instance);
            let list = draft.places.list_mut(standing);
            list.set(slot as usize, Arc::clone(&instance));
            // Removed first, because inserting would keep the key that is there: the old instance.
            self.by_id.remove(instance.id().as_str());
            self.insert(&instance, slot, standing);
            self.changes.push(Change::Updated(instance));
        } else {
            // It keeps its standing until `settle` changes that.
            let standing = place.standing;
            let id = instance.id().clone();
            self.cut(&id);
            let instance = self.add(instance, standing);
            self.changes.push(Change::Updated(instance));
        }
    }

    /// Removes an instance, if it is there.
    pub(super) fn take(&mut self, id: &InstanceId) {
        if let Some(instance) = self.cut(id) {
            self.changes.push(Change::Removed(instance));
        }
    }

    /// Begins to mark the instances of a snapshot of this size. No instance is marked at first.
    pub(super) fn begin_mark(&mut self, size: usize) {
        self.mark = self.mark.wrapping_add(1);
        self.by_id.reserve(size.saturating_sub(self.by_id.len()));
    }

    pub(super) fn mark(&self, id: &InstanceId) {
        if let Some(place) = self.by_id.get(id.as_str()) {
            place.mark.set(self.mark);
        }
    }

    pub(super) fn unmarked(&self) -> Vec<InstanceId> {
        let unmarked = self.by_id.iter().filter(|(_, place)| place.mark.get() != self.mark);
        unmarked.map(|(ById(instance), _)| instance.id().clone()).collect()
    }

    /// Whether the snapshot that was marked last contains the instance.
    pub(super) fn is_marked(&self, id: &InstanceId) -> bool {
        self.by_id.get(id.as_str()).is_some_and(|place| place.mark.get() == self.mark)
    }

    pub(super) fn standing(&self, id: &InstanceId) -> Option<Standing> {
        self.by_id.get(id.as_str()).map(|place| place.standing)
    }

    /// Takes an instance out of rotation, or returns it to the end of the rotation. Returns it if that is a
    /// change.
    pub(super) fn set_standing(
        &mut self,
        id: &InstanceId,
        standing: Standing,
    ) -> Option<Arc<Instance>> {
        let (ById(instance), place) = self.by_id.get_key_value(id.as_str())?;
        if place.standing == standing {
            return None;
        }
        let (instance, slot, before) = (Arc::clone(instance), place.slot, place.standing);
        self.leave_place(&instance, slot, before);
        let draft = draft(&mut self.drafts, &self.directory, instance.service());
        let slot = number(draft.places.list_mut(standing).push(Arc::clone(&instance)));
        if let Some(its) = self.by_id.get_mut(id.as_str()) {
            (its.slot, its.standing) = (slot, standing);
        }
        Some(instance)
    }

    /// The places of a service as they are about to be.
    pub(super) fn places(&self, service: &str) -> Places {
        match self.drafts.get(service) {
            Some(draft) => draft.places.clone(),
            None => self.directory.places(service).1,
        }
    }

    /// Whether instances of this service have changed since the last call of `publish`.
    pub(super) fn has_draft(&self, service: &str) -> bool {
        self.drafts.contains_key(service)
    }

    /// What has changed since the last call of `publish`.
    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Adds a change that is published with the others.
    pub(super) fn tell(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Makes the changes since the last call visible to readers, and returns them, but for those of
    /// reserved services.
    pub(super) fn publish(&mut self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.changes);
        if self.drafts.keys().any(|service| limits::is_reserved(service)) {
            changes.retain(|change| {
                change.instance().is_none_or(|it| !limits::is_reserved(it.service()))
            });
        }
        let drafts = self.drafts.drain().map(|(name, draft)| (name, draft.places));
        self.directory.publish(drafts, &mut self.old_views);
        self.free_old_views();
        changes
    }

    /// Frees old views that no reader uses any more.
    pub(super) fn free_old_views(&mut self) {
        self.old_views.free();
    }

    fn add(&mut self, mut instance: Instance, standing: Standing) -> Arc<Instance> {
        let draft = draft(&mut self.drafts, &self.directory, instance.service());
        instance.intern_service(&draft.name);
        let instance = Arc::new(instance);
        let slot = draft.places.list_mut(standing).push(Arc::clone(&instance));
        self.insert(&instance, number(slot), standing);
        instance
    }

    fn insert(&mut self, instance: &Arc<Instance>, slot: u32, standing: Standing) {
        let place = Place { slot, mark: self.mark.into(), standing };
        self.by_id.insert(ById(Arc::clone(instance)), place);
    }

    fn cut(&mut self, id: &InstanceId) -> Option<Arc<Instance>> {
        let (ById(instance), place) = self.by_id.remove_entry(id.as_str())?;
        self.leave_place(&instance, place.slot, place.standing);
        Some(instance)
    }

    /// Takes an instance out of the list that it is in; the last of the list moves to its slot.
    fn leave_place(&mut self, instance: &Instance, slot: u32, standing: Standing) {
        let draft = draft(&mut self.drafts, &self.directory, instance.service());
        let list = draft.places.list_mut(standing);
        if let Some(moved) = list.swap_remove(slot as usize)
            && let Some(its) = self.by_id.get_mut(moved.id().as_str())
        {
            its.slot = slot;
        }
    }
}

fn number(slot: usize) -> u32 {
    u32::try_from(slot).expect("memory ends long before 2^32 instances")
}

/// The draft of a service, begun from what readers see.
fn draft<'a>(drafts: &'a mut Drafts, directory: &Directory, service: &str) -> &'a mut Draft {
    if !drafts.contains_key(service) {
        let (name, places) = directory.places(service);
        drafts.insert(Arc::clone(&name), Draft { name, places });
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
