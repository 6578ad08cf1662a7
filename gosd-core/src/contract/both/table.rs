//! The table of a watch over two: which side has which instance, and the event that a change results in.

use std::collections::BTreeMap;

use super::super::{Event, Instance, InstanceId};

/// All instances that at least one side has.
#[derive(Default)]
pub(super) struct Table {
    rows: BTreeMap<InstanceId, [Cell; 2]>,
}

/// What one side has yielded about an instance.
#[derive(Clone, Default)]
enum Cell {
    /// Nothing yet.
    #[default]
    Unheard,
    Here(Instance),
    /// A goodbye, or somebody's deliberate deletion.
    Left,
    /// The instance is absent, for whatever reason.
    Vanished,
}

impl Cell {
    fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Here(instance) => Some(instance),
            _ => None,
        }
    }
}

/// The record that counts: the primary's, if there is one.
fn chosen(row: &[Cell; 2]) -> Option<&Instance> {
    row.iter().find_map(Cell::instance)
}

impl Table {
    /// All instances, once each.
    pub(super) fn union(&self) -> Vec<Instance> {
        self.rows.values().filter_map(chosen).cloned().collect()
    }

    /// Records an instance of one side; returns the resulting event.
    pub(super) fn put(&mut self, side: usize, instance: Instance) -> Option<Event> {
        let row = self.rows.entry(instance.id().clone()).or_default();
        row[side] = Cell::Here(instance);
        chosen(row).cloned().map(Event::Put)
    }

    /// Records that an instance left one side; returns the resulting event, if there is one.
    ///
    /// `hears_other` says whether there is contact with the other side, which may otherwise be unable to
    /// report the instance.
    pub(super) fn leave(
        &mut self,
        side: usize,
        id: InstanceId,
        hears_other: bool,
    ) -> Option<Event> {
        self.lose(side, id, Cell::Left, hears_other)
    }

    /// Records that an instance expired on one side, as `leave` does for a goodbye.
    pub(super) fn expire(&mut self, side: usize, id: InstanceId) -> Option<Event> {
        // An expiry stays an expiry, whatever the other side yields.
        self.lose(side, id, Cell::Vanished, false)
    }

    fn lose(&mut self, side: usize, id: InstanceId, now: Cell, hears_other: bool) -> Option<Event> {
        let Some(row) = self.rows.get_mut(&id) else {
            return Some(gone(id, &now, &Cell::Unheard, hears_other));
        };
        let before = chosen(row).cloned();
        row[side] = now;
        match chosen(row) {
            // The record that counts from now on may be another one.
            Some(rest) => (before.as_ref() != Some(rest)).then(|| Event::Put(rest.clone())),
            None => {
                let event = gone(id.clone(), &row[side], &row[1 - side], hears_other);
                self.rows.remove(&id);
                Some(event)
            }
        }
    }

    /// Replaces everything that one side has. An instance that neither side has now is gone.
    pub(super) fn reset(&mut self, side: usize, all: Vec<Instance>) {
        let mut before = std::mem::take(&mut self.rows);
        for instance in all {
            let mut row = before.remove(instance.id()).unwrap_or_default();
            let id = instance.id().clone();
            row[side] = Cell::Here(instance);
            self.rows.insert(id, row);
        }
        for (id, mut row) in before {
            if row[side].instance().is_some() {
                row[side] = Cell::Vanished;
            }
            if chosen(&row).is_some() {
                self.rows.insert(id, row);
            }
        }
    }
}

/// The event for an instance that neither side has any more. It is a goodbye only if there is contact with
/// the other side, and that side reported nothing else. A side that merely lacks the instance may have lost
/// it. And a side that is away may have it by now, if the service left the first database to go on with the
/// second.
fn gone(id: InstanceId, now: &Cell, other: &Cell, hears_other: bool) -> Event {
    match (now, other) {
        (Cell::Left, Cell::Left | Cell::Unheard) if hears_other => Event::Remove(id),
        _ => Event::Expire(id),
    }
}

/// The instances of two lists, once each; where the records differ, the first list's counts.
pub(super) fn union_of(primary: Vec<Instance>, also: Vec<Instance>) -> Vec<Instance> {
    let all = also.into_iter().chain(primary);
    let by_id: BTreeMap<_, _> = all.map(|instance| (instance.id().clone(), instance)).collect();
    by_id.into_values().collect()
}
