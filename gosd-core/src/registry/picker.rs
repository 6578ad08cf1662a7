//! What a handle or a thread that picks repeatedly caches of a service.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::rotation::{Rotation, Turns};
use super::slots::Leaf;
use crate::Instance;

/// The turns of a rotation, and the instances around one of them.
///
/// A picker keeps one leaf of instances alive, and not the rotation. A pick writes nothing here, because the
/// locked instruction of the next pick would wait for that write.
#[derive(Clone)]
pub(crate) struct Picker {
    turns: Turns,
    len: NonZeroUsize,
    leaf: Arc<Leaf<Arc<Instance>>>,
    /// The number of the leaf's first slot.
    first: usize,
}

impl Picker {
    /// Makes a picker with the instances around a slot, if there are any.
    pub(crate) fn around(rotation: &Rotation, slot: usize) -> Option<Self> {
        let len = NonZeroUsize::new(rotation.slots().len())?;
        let (leaf, first) = rotation.leaf(slot)?;
        Some(Self { turns: rotation.turns().clone(), len, leaf: Arc::clone(leaf), first })
    }

    /// Replaces the cached instances by those around another slot of the rotation.
    #[cold]
    pub(crate) fn reach(&mut self, rotation: &Rotation, slot: usize) {
        if let Some((leaf, first)) = rotation.leaf(slot) {
            (self.leaf, self.first) = (Arc::clone(leaf), first);
        }
    }

    /// Takes the next turn.
    #[inline]
    pub(crate) fn take(&self) -> usize {
        self.turns.take()
    }

    /// The number of the slot that a ticket leads to.
    #[inline]
    pub(crate) fn slot(&self, ticket: usize) -> usize {
        self.turns.offset(ticket) % self.len
    }

    /// The instance in a slot, if it is cached.
    #[inline]
    pub(crate) fn at(&self, slot: usize) -> Option<&Arc<Instance>> {
        self.leaf.get(slot.wrapping_sub(self.first))
    }

    /// Whether the turns are those of this rotation, as it is now or was before a change.
    pub(crate) fn is_of(&self, rotation: &Rotation) -> bool {
        self.turns.are_shared_with(rotation.turns())
    }
}
