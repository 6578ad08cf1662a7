//! The instances of one service: which of them are in rotation, and whose turn it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::budget::Budget;
use super::slots::{Leaf, Slots};
use crate::Instance;

/// The instances of one service at one moment.
pub(crate) struct Rotation {
    turns: Turns,
    /// Shared by all successive rotations of the service, as the turns are, and by its selections, which have
    /// turns of their own.
    budget: Arc<Budget>,
    places: Places,
}

/// The instances of a service in three lists, each in the order in which they came.
///
/// A pick reads only the list in rotation, so the others cost it nothing.
#[derive(Clone, Default)]
pub(crate) struct Places {
    lists: [Slots<Arc<Instance>>; 3],
}

/// Whether an instance is in rotation, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    InRotation,
    /// Failed requests of this process have ejected the instance.
    Ejected,
    /// A record in the registry drains the instance.
    Drained,
}

/// The shared counter of a service, with the offset and the length that map it to a slot.
#[derive(Clone)]
pub(crate) struct Turns {
    cursor: Arc<Cursor>,
    /// What to subtract from the cursor, so that a change of length does not move the turn.
    origin: usize,
    len: usize,
}

/// The counter of a service's picks, shared by all handles and all successive rotations.
///
/// It has its own cache lines: otherwise each pick would evict its neighbours from the caches of the other
/// cores (false sharing).
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl Rotation {
    pub(crate) fn new(places: Places) -> Self {
        Self { turns: Turns::new(places.in_rotation().len()), budget: Arc::default(), places }
    }

    /// The same rotation with other instances. The turn stays where it is, unless it fell off the end.
    pub(crate) fn with(&self, places: Places) -> Self {
        let turns = self.turns.among(places.in_rotation().len());
        Self { turns, budget: Arc::clone(&self.budget), places }
    }

    /// The same rotation with the budget of another one, for a selection of its instances.
    pub(super) fn sharing_budget_of(self, all: &Self) -> Self {
        Self { budget: Arc::clone(&all.budget), ..self }
    }

    /// Continues at the present turn of the old rotation, instead of the turn at the time of `with`.
    pub(super) fn catch_up(&mut self, before: &Self) {
        self.turns = before.turns.among(self.turns.len);
    }

    /// Takes the next turn, if any instance is in rotation: a ticket, which [`slot`](Self::slot) maps to a slot.
    pub(crate) fn take(&self) -> Option<usize> {
        // Checked first, because a pick that finds no instance must not move the counter.
        (self.turns.len > 0).then(|| self.turns.take())
    }

    /// Whose turn it is by a ticket: the number of a slot.
    pub(crate) fn slot(&self, ticket: usize) -> usize {
        self.turns.slot(ticket)
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// How many requests may be repeated.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// The instances in rotation.
    pub(crate) fn slots(&self) -> &Slots<Arc<Instance>> {
        self.places.in_rotation()
    }

    /// Some slots around the one given, and the number of the first, for handles to keep cached.
    pub(crate) fn leaf(&self, slot: usize) -> Option<(&Arc<Leaf<Arc<Instance>>>, usize)> {
        self.slots().leaf(slot)
    }
}

impl Places {
    /// Puts all instances into rotation.
    pub(super) fn all_in_rotation(slots: Slots<Arc<Instance>>) -> Self {
        Self { lists: [slots, Slots::default(), Slots::default()] }
    }

    pub(crate) fn in_rotation(&self) -> &Slots<Arc<Instance>> {
        self.list(Standing::InRotation)
    }

    pub(crate) fn list(&self, standing: Standing) -> &Slots<Arc<Instance>> {
        &self.lists[standing as usize]
    }

    pub(super) fn list_mut(&mut self, standing: Standing) -> &mut Slots<Arc<Instance>> {
        &mut self.lists[standing as usize]
    }

    /// All instances, those in rotation first, in the order of their turns.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.lists.iter().flat_map(Slots::iter)
    }

    pub(crate) fn len(&self) -> usize {
        self.lists.iter().map(Slots::len).sum()
    }
}

impl Turns {
    fn new(len: usize) -> Self {
        Self { cursor: Arc::new(Cursor(AtomicUsize::new(0))), origin: Self::origin(0, len), len }
    }

    fn among(&self, len: usize) -> Self {
        let ticket = self.cursor.0.load(Ordering::Relaxed);
        let origin = match self.len {
            0 => Self::origin(ticket, len),
            _ => {
                let slot = self.slot(ticket);
                ticket.wrapping_sub(if slot < len { slot } else { 0 })
            }
        };
        Self { cursor: Arc::clone(&self.cursor), origin, len }
    }

    /// A random start, so that a fleet restarting together does not fall on one instance.
    fn origin(ticket: usize, len: usize) -> usize {
        ticket.wrapping_sub(fastrand::usize(..len.max(1)))
    }

    /// Takes the next turn: a ticket. The rotation must not be empty.
    #[inline]
    pub(super) fn take(&self) -> usize {
        self.cursor.0.fetch_add(1, Ordering::Relaxed)
    }

    /// How far a ticket is from the origin; by the length, what is left of that is the slot.
    #[inline]
    pub(super) fn offset(&self, ticket: usize) -> usize {
        ticket.wrapping_sub(self.origin)
    }

    /// Whether both count in the same counter.
    pub(super) fn are_shared_with(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.cursor, &others.cursor)
    }

    /// How many turns were taken, since the service came up.
    pub(crate) fn taken(&self) -> usize {
        self.cursor.0.load(Ordering::Relaxed)
    }

    fn slot(&self, ticket: usize) -> usize {
        self.offset(ticket) % self.len.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_may_wrap() {
        let mut turns = Turns::new(3);
        turns.cursor.0.store(usize::MAX - 1, Ordering::Relaxed);
        turns = turns.among(3);
        let turns: Vec<_> = (0..4).map(|_| turns.slot(turns.take())).collect();
        for (turn, next) in turns.iter().zip(&turns[1..]) {
            assert_eq!((turn + 1) % 3, *next);
        }
    }

    #[test]
    fn a_pick_in_an_empty_rotation_takes_no_turn() {
        let nobody = Rotation::new(Places::default());
        assert_eq!(nobody.take(), None);
        assert_eq!(nobody.turns().taken(), 0);
        let start = |turns: Turns| turns.slot(turns.take());
        let starts: Vec<_> = (0..100).map(|_| start(nobody.turns().among(50))).collect();
        assert!(starts.iter().any(|start| *start != starts[0]), "the first turn is random");
    }
}
