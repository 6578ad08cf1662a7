//! The position of a watch in the stream of changes, and whether the stream continues from there.

use gosd_core::{Event, Result};
use redis::Value;

use crate::layout;
use crate::snapshot::START;

/// An entry of the stream: its position, and its fields and values alternately.
pub(crate) type Entry = (String, Vec<Value>);

/// The position of the last change that a watch has applied.
pub(crate) struct Cursor {
    position: String,
    /// The entry at the position, once it is known. After a wipe another entry may get the same position.
    entry: Option<Vec<Value>>,
}

impl Cursor {
    /// Begins after the change at a position.
    pub(crate) fn after(position: String) -> Self {
        Self { position, entry: None }
    }

    pub(crate) fn position(&self) -> &str {
        &self.position
    }

    /// Whether the entry found at the position is the one that was there before, so that every change since
    /// comes after it. Before the first change there is no entry to find.
    pub(crate) fn is_at(&mut self, found: Option<Entry>) -> bool {
        if self.position == START {
            return true;
        }
        let Some((_, found)) = found else { return false };
        self.entry.get_or_insert_with(|| found.clone()) == &found
    }

    /// Whether the stream may be another one than before, if this watch was away meanwhile.
    ///
    /// The first entry of an empty stream may be that of a new stream.
    pub(crate) fn may_be_lost(&self, entries: &[Entry]) -> bool {
        self.position == START && !entries.is_empty()
    }

    /// Moves on to an entry, and returns its event.
    pub(crate) fn advance(&mut self, (position, fields): Entry) -> Result<Event> {
        self.position = position;
        self.entry = Some(fields.clone());
        layout::event(text_pairs(fields).collect())
    }
}

/// The pairs whose two parts are both text.
pub(crate) fn text_pairs(values: Vec<Value>) -> impl Iterator<Item = (String, String)> {
    let mut values = values.into_iter();
    std::iter::from_fn(move || Some((values.next()?, values.next()?)))
        .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
}

/// Takes the text out of a reply.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(position: &str, id: &str) -> Entry {
        let fields = ["op", "remove", "id", id];
        (position.into(), fields.map(|text| Value::BulkString(text.into())).to_vec())
    }

    #[test]
    fn another_entry_at_the_same_position_is_noticed() {
        let mut cursor = Cursor::after("5-0".into());
        assert!(!cursor.is_at(None));
        assert!(cursor.is_at(Some(entry("5-0", "a"))), "the first one is taken as it is");
        assert!(!cursor.is_at(Some(entry("5-0", "b"))));
        assert_eq!(cursor.advance(entry("6-0", "c")).unwrap(), Event::Remove("c".into()));
        assert!(!cursor.is_at(Some(entry("6-0", "a"))));
        assert!(cursor.is_at(Some(entry("6-0", "c"))));
    }

    #[test]
    fn before_the_first_change_nothing_is_expected() {
        let mut cursor = Cursor::after(START.into());
        assert!(cursor.is_at(None) && !cursor.may_be_lost(&[]));
        assert!(cursor.may_be_lost(&[entry("1-0", "a")]));
        cursor.advance(entry("1-0", "a")).unwrap();
        assert!(!cursor.is_at(None) && !cursor.may_be_lost(&[entry("2-0", "b")]));
    }
}
