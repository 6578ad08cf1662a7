//! A selection of a service's instances by a predicate, with its own rotation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::rotation::{Places, Rotation, Standing};
use super::slots::Slots;
use crate::{Instance, InstanceId};

/// A selection of a service's instances, whose rotation all clones of a handle share.
///
/// It is computed again when the service's rotation has changed, so that no other pick pays for it.
pub(crate) struct Selection {
    matches: Arc<Matches>,
    or_else_all: bool,
    last: Mutex<Option<Chosen>>,
}

pub(crate) type Matches = dyn Fn(&Instance) -> bool + Send + Sync;

#[derive(Clone)]
struct Chosen {
    of: Arc<Rotation>,
    rotation: Arc<Rotation>,
}

impl Selection {
    pub(crate) fn new(matches: Arc<Matches>) -> Self {
        Self { matches, or_else_all: false, last: Mutex::new(None) }
    }

    /// The same selection, but with all instances if none matches; it has its own turns.
    pub(crate) fn or_else_all(&self) -> Self {
        Self { matches: Arc::clone(&self.matches), or_else_all: true, last: Mutex::new(None) }
    }

    pub(crate) fn matches(&self, instance: &Instance) -> bool {
        (self.matches)(instance)
    }

    /// Whether all instances are used if none matches.
    pub(crate) fn falls_back(&self) -> bool {
        self.or_else_all
    }

    /// The rotation of the matching instances in a service's rotation.
    pub(crate) fn choose(&self, all: &Arc<Rotation>) -> Arc<Rotation> {
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let chosen = match before {
            Some(chosen) if Arc::ptr_eq(&chosen.of, all) => chosen,
            before => {
                // Without the lock, because the predicate is foreign code.
                let drawn = self.draw(all, before.as_ref().map(|chosen| &*chosen.rotation));
                let drawn = Chosen { of: Arc::clone(all), rotation: Arc::new(drawn) };
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                match &*last {
                    // Another thread was faster.
                    Some(chosen) if Arc::ptr_eq(&chosen.of, all) => chosen.clone(),
                    _ => last.insert(drawn).clone(),
                }
            }
        };
        match self.or_else_all && chosen.rotation.slots().len() == 0 {
            true => chosen.of,
            false => chosen.rotation,
        }
    }

    fn draw(&self, all: &Rotation, before: Option<&Rotation>) -> Rotation {
        let matching = |standing| -> Vec<_> {
            let list = all.places().list(standing).iter();
            list.filter(|instance| self.matches(instance)).cloned().collect()
        };
        let mut chosen = matching(Standing::InRotation);
        if chosen.is_empty() && !self.or_else_all {
            // Instances that failed are better than none.
            chosen = matching(Standing::Ejected);
        }
        let slots = before.map(|before| before.slots().clone()).unwrap_or_default();
        let places = Places::all_in_rotation(in_order_of(slots, &chosen));
        let rotation = match before {
            Some(before) => before.with(places),
            None => Rotation::new(places),
        };
        rotation.sharing_budget_of(all)
    }
}

/// The instances in their former order: new ones come last, and the last takes the place of one that is gone.
fn in_order_of(mut slots: Slots<Arc<Instance>>, now: &[Arc<Instance>]) -> Slots<Arc<Instance>> {
    let mut new: HashMap<InstanceId, &Arc<Instance>> =
        now.iter().map(|instance| (instance.id().clone(), instance)).collect();
    let mut slot = 0;
    while let Some(before) = slots.get(slot) {
        match new.remove(before.id()) {
            Some(instance) => {
                if !Arc::ptr_eq(before, instance) {
                    slots.set(slot, Arc::clone(instance));
                }
                slot += 1;
            }
            None => {
                slots.swap_remove(slot);
            }
        }
    }
    for instance in now.iter().filter(|instance| new.contains_key(instance.id())) {
        slots.push(Arc::clone(instance));
    }
    slots
}
