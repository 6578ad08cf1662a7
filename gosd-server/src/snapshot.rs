//! Serialised states of a registry, shared by all answers that contain them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Bytes, BytesMut};

/// How many bytes of an answer are copied at a time, which is what each slow reader keeps in memory.
const PIECE: usize = 16 * 1_024;
/// How many bytes of superseded states are kept for the clients that still read them.
const SUPERSEDED: usize = 64 * 1_024 * 1_024;

/// The instances of a namespace at one moment, as JSON with commas between them.
pub(crate) type Items = Arc<Vec<u8>>;

/// The superseded states that are still being read, the oldest first.
///
/// Readers hold no state themselves, so that slow readers cannot keep more states in memory than this limit
/// allows. Beyond it the oldest state is dropped, and its readers are cut off.
#[derive(Default)]
pub(crate) struct Superseded(Mutex<VecDeque<Items>>);

impl Superseded {
    /// Keeps a state that is no longer current, until nobody reads it or the limit is reached.
    pub(crate) fn keep(&self, items: Items) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(items);
        kept.retain(|items| Arc::weak_count(items) > 0);
        let mut size: usize = kept.iter().map(|items| items.len()).sum();
        while size > SUPERSEDED {
            size -= kept.pop_front().map_or(size, |oldest| oldest.len());
        }
    }
}

/// The state was superseded too long ago, and has been dropped.
#[derive(Debug)]
pub(crate) struct Gone;

/// Yields parts of a state piece by piece, with commas between them, after a prefix and before a suffix.
pub(crate) struct Reader {
    items: Weak<Vec<u8>>,
    /// What is left of the parts. None of them is empty, but for the first, which may have been read.
    rest: VecDeque<Range<usize>>,
    prefix: String,
    /// `None` once everything has been yielded.
    suffix: Option<&'static str>,
}

impl Reader {
    pub(crate) fn new(
        items: &Items,
        part: Range<usize>,
        prefix: String,
        suffix: &'static str,
    ) -> Self {
        Self::of_parts(items, [part], prefix, suffix)
    }

    pub(crate) fn of_parts(
        items: &Items,
        parts: impl IntoIterator<Item = Range<usize>>,
        prefix: String,
        suffix: &'static str,
    ) -> Self {
        let rest = parts.into_iter().filter(|part| part.start < part.end).collect();
        Self { items: Arc::downgrade(items), rest, prefix, suffix: Some(suffix) }
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        let commas = self.rest.len().saturating_sub(1);
        let rest = self.rest.iter().map(ExactSizeIterator::len).sum::<usize>();
        self.prefix.len() + rest + commas + self.suffix.map_or(0, str::len)
    }

    /// The next piece; `None` after the last.
    pub(crate) fn piece(&mut self) -> Result<Option<Bytes>, Gone> {
        let Some(suffix) = self.suffix else { return Ok(None) };
        let items = self.items.upgrade().ok_or(Gone)?;
        let mut piece = BytesMut::with_capacity(self.remaining().min(PIECE + 128));
        piece.extend_from_slice(std::mem::take(&mut self.prefix).as_bytes());
        let mut room = PIECE;
        while let Some(part) = self.rest.front_mut() {
            let end = part.end.min(part.start + room);
            piece.extend_from_slice(&items[part.start..end]);
            room -= end - part.start;
            part.start = end;
            if part.start < part.end || (room == 0 && self.rest.len() > 1) {
                return Ok(Some(piece.freeze()));
            }
            self.rest.pop_front();
            if !self.rest.is_empty() {
                piece.extend_from_slice(b",");
                room -= 1;
            }
        }
        piece.extend_from_slice(suffix.as_bytes());
        self.suffix = None;
        Ok(Some(piece.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut reader: Reader) -> Result<Vec<u8>, Gone> {
        let (expected, mut all) = (reader.remaining(), Vec::new());
        while let Some(piece) = reader.piece()? {
            assert!(piece.len() <= PIECE + 2, "{} bytes at once", piece.len());
            all.extend(piece);
        }
        assert_eq!(all.len(), expected);
        Ok(all)
    }

    #[test]
    fn a_part_is_yielded_whole_between_its_prefix_and_suffix() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let items = Arc::new((0..length + 2).map(|n| n as u8).collect::<Vec<_>>());
            let reader = Reader::new(&items, 1..length + 1, "[".into(), "]");
            let expected = [b"[", &items[1..=length], b"]"].concat();
            assert_eq!(read(reader).unwrap(), expected, "{length}");
        }
    }

    #[test]
    fn several_parts_have_commas_between_them() {
        for length in [1, PIECE - 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            let items = Arc::new((0..3 * length).map(|n| n as u8).collect::<Vec<_>>());
            let [a, b, c] = [0..length, length..2 * length, 2 * length..3 * length];
            let empty = length..length;
            let parts = [empty.clone(), a.clone(), empty, b.clone(), c.clone()];
            let reader = Reader::of_parts(&items, parts, "[".into(), "]");
            let all = [&items[a], &items[b], &items[c]].join(&b',');
            let expected = [b"[", &all[..], b"]"].concat();
            assert_eq!(read(reader).unwrap(), expected, "{length}");
        }
        let items = Items::default();
        let nothing = Reader::of_parts(&items, [0..0, 0..0], "[".into(), "]");
        assert_eq!(read(nothing).unwrap(), b"[]");
    }

    #[test]
    fn superseded_states_are_kept_while_they_are_read_and_never_too_many() {
        let superseded = Superseded::default();
        let state = || Arc::new(vec![0; SUPERSEDED / 4]);
        let readers: Vec<Reader> = (0..6)
            .map(|_| {
                let items = state();
                let reader = Reader::new(&items, 0..items.len(), String::new(), "");
                superseded.keep(items);
                reader
            })
            .collect();
        let outcomes: Vec<bool> = readers.into_iter().map(|reader| read(reader).is_ok()).collect();
        assert_eq!(outcomes, [false, false, true, true, true, true]);
        superseded.keep(state());
        assert_eq!(superseded.0.lock().unwrap().len(), 0, "nobody reads any of them");
    }
}
