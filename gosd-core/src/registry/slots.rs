//! A persistent vector: a change copies one path, and readers keep the vector that they hold.

use std::sync::Arc;

const BITS: usize = 6;
/// The number of a node's children. A change copies one node of each level below the root.
const WIDTH: usize = 1 << BITS;
const MASK: usize = WIDTH - 1;

/// A persistent vector of three levels: a clone shares everything, and a change copies one path.
///
/// Nodes that no clone shares are changed in place, so a batch of changes copies each node once.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    len: usize,
    branches: Vec<Arc<Branch<T>>>,
}

type Branch<T> = Vec<Arc<Leaf<T>>>;
pub(crate) type Leaf<T> = Vec<T>;

impl<T: Clone> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The leaf that holds the slot, and the number of the leaf's first slot.
    pub(crate) fn leaf(&self, slot: usize) -> Option<(&Arc<Leaf<T>>, usize)> {
        let branch = self.branches.get(slot >> (2 * BITS))?;
        Some((branch.get((slot >> BITS) & MASK)?, slot & !MASK))
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&T> {
        let (leaf, first) = self.leaf(slot)?;
        leaf.get(slot - first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.branches.iter().flat_map(|branch| branch.iter()).flat_map(|leaf| leaf.iter())
    }

    /// Replaces a value.
    pub(crate) fn set(&mut self, slot: usize, value: T) {
        self.leaf_mut(slot)[slot & MASK] = value;
    }

    /// Adds a value at the end and returns its slot.
    pub(crate) fn push(&mut self, value: T) -> usize {
        let slot = self.len;
        self.len += 1;
        if slot & MASK == 0 {
            if slot & (WIDTH * WIDTH - 1) == 0 {
                self.branches.push(Arc::default());
            }
            Arc::make_mut(
                self.branches.last_mut().expect("a branch was added with its first slot"),
            )
            .push(Arc::default());
        }
        self.leaf_mut(slot).push(value);
        slot
    }

    /// Removes a slot and fills it with the last one. Returns the value that moved there.
    pub(crate) fn swap_remove(&mut self, slot: usize) -> Option<&T> {
        let last = self.pop();
        if slot == self.len {
            return None;
        }
        self.set(slot, last);
        self.get(slot)
    }

    fn pop(&mut self) -> T {
        self.len -= 1;
        let slot = self.len;
        let value = self.leaf_mut(slot).pop().expect("the last slot is the last of its leaf");
        if slot & MASK == 0 {
            let branch = self.branches.last_mut().expect("the last slot is in the last branch");
            Arc::make_mut(branch).pop();
            if branch.is_empty() {
                self.branches.pop();
            }
        }
        value
    }

    fn leaf_mut(&mut self, slot: usize) -> &mut Leaf<T> {
        let branch = Arc::make_mut(&mut self.branches[slot >> (2 * BITS)]);
        Arc::make_mut(&mut branch[(slot >> BITS) & MASK])
    }
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Self { len: self.len, branches: self.branches.clone() }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { len: 0, branches: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(len: usize) -> Slots<usize> {
        let mut slots = Slots::default();
        for i in 0..len {
            assert_eq!(slots.push(i), i);
        }
        slots
    }

    #[test]
    fn a_vector_grows_and_shrinks_over_every_boundary() {
        let mut slots = filled(2 * WIDTH * WIDTH + 1);
        for len in (0..slots.len()).rev() {
            assert_eq!(slots.get(len), Some(&len));
            assert_eq!(slots.swap_remove(len), None);
            assert_eq!(slots.get(len), None);
        }
        assert!(slots.branches.is_empty());
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut slots = filled(WIDTH + 1);
        let before = slots.clone();
        slots.set(0, 99);
        assert_eq!(slots.swap_remove(1), Some(&WIDTH));
        slots.push(7);
        assert!(before.iter().copied().eq(0..=WIDTH));
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(start in 0..200_usize, steps in prop::collection::vec((0..3_u8, 0..1_000_usize), 0..200)) {
            let mut slots = filled(start);
            let mut model: Vec<usize> = (0..start).collect();
            for (step, value) in steps {
                match step {
                    0 => { slots.push(value); model.push(value); }
                    1 if !model.is_empty() => {
                        let slot = value % model.len();
                        slots.set(slot, value);
                        model[slot] = value;
                    }
                    _ if !model.is_empty() => {
                        let slot = value % model.len();
                        model.swap_remove(slot);
                        prop_assert_eq!(slots.swap_remove(slot), model.get(slot));
                    }
                    _ => {}
                }
                prop_assert_eq!(slots.len(), model.len());
            }
            prop_assert!(slots.iter().eq(model.iter()));
            prop_assert!((0..model.len()).all(|i| slots.get(i) == model.get(i)));
        }
    }
}
