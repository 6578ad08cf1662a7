//! The log of a namespace: its latest changes, serialised for watchers, and the resulting view.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gosd_core::{Event, InstanceId};

use crate::snapshot::{Items, Reader, Superseded};

/// How many bytes of changes are kept for watchers that reconnect or fall behind.
const KEPT: usize = 8 * 1_024 * 1_024;
/// The approximate number of bytes that a watcher gets at once.
const PIECE: usize = 16 * 1_024;

/// The registered instances, as JSON.
type View = BTreeMap<InstanceId, Bytes>;

/// A position in the log. The epoch names the snapshot from which changes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    epoch: u64,
    n: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.n)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, n) = text.split_once('-').ok_or(())?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(drop)?;
        Ok(Self { epoch, n: n.parse().map_err(drop)? })
    }
}

/// The changes, and the resulting view.
pub(crate) struct Log {
    view: View,
    at: Position,
    /// The changes up to `at`.
    changes: VecDeque<Bytes>,
    /// The bytes of those changes.
    size: usize,
    /// Whether the view has been set for the first time.
    begun: bool,
    counts: Counts,
    snapshot: Option<Snapshot>,
    superseded: Arc<Superseded>,
}

/// The number of changes, by the name of the event.
pub(crate) type Counts = [(&'static str, u64); 4];

/// The view at a position, serialised.
struct Snapshot {
    items: Items,
    at: Position,
}

/// What a watcher is sent next.
pub(crate) enum Next {
    Nothing,
    Changes(Bytes, Position),
    Everything(Reader, Position),
}

impl Log {
    pub(crate) fn new(superseded: Arc<Superseded>) -> Self {
        Self {
            view: View::new(),
            at: Self::begin(),
            changes: VecDeque::new(),
            size: 0,
            begun: false,
            counts: ["put", "remove", "expire", "reset"].map(|event| (event, 0)),
            snapshot: None,
            superseded,
        }
    }

    fn begin() -> Position {
        Position { epoch: fastrand::u64(..), n: 0 }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn len(&self) -> usize {
        self.view.len()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn count(&mut self, name: &str) {
        for (event, count) in &mut self.counts {
            *count += u64::from(*event == name);
        }
    }

    /// Whether the view has the instance exactly as in this JSON, or with `None`, whether it lacks it.
    pub(crate) fn shows(&self, id: &InstanceId, json: Option<&str>) -> bool {
        self.view.get(id).map(|known| &known[..]) == json.map(str::as_bytes)
    }

    pub(crate) fn contains(&self, id: &InstanceId) -> bool {
        self.view.contains_key(id)
    }

    /// Applies an event, and returns whether it changed anything.
    pub(crate) fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Put(instance) => {
                let json = Bytes::from(instance.to_json());
                if self.view.get(instance.id()) == Some(&json) {
                    return false;
                }
                self.push("put", &json);
                self.view.insert(instance.id().clone(), json);
            }
            Event::Remove(id) if self.view.remove(&id).is_some() => {
                self.push("remove", &gone(&id));
            }
            Event::Expire(id) if self.view.remove(&id).is_some() => {
                self.push("expire", &gone(&id));
            }
            Event::Reset(all) => {
                self.begun = true;
                let json = |i: gosd_core::Instance| (i.id().clone(), Bytes::from(i.to_json()));
                let view: View = all.into_iter().map(json).collect();
                // A `Reset` with the same view changes nothing for watchers, and follows each lost
                // connection.
                if view == self.view {
                    return false;
                }
                self.view = view;
                self.at = Self::begin();
                self.changes.clear();
                self.size = 0;
                self.count("reset");
            }
            _ => return false,
        }
        true
    }

    fn push(&mut self, name: &str, data: &[u8]) {
        self.count(name);
        self.at.n += 1;
        let head = format!("event: {name}\nid: {}\ndata: ", self.at);
        let change = Bytes::from([head.as_bytes(), data, b"\n\n"].concat());
        self.size += change.len();
        self.changes.push_back(change);
        while self.size > KEPT {
            self.size -= self.changes.pop_front().map_or(self.size, |oldest| oldest.len());
        }
    }

    /// Whether the log has all changes after the position.
    pub(crate) fn reaches(&self, position: Position) -> bool {
        let oldest = self.at.n - self.changes.len() as u64;
        position.epoch == self.at.epoch && (oldest..=self.at.n).contains(&position.n)
    }

    pub(crate) fn after(&mut self, position: Option<Position>) -> Next {
        let Some(position) = position.filter(|position| self.reaches(*position)) else {
            return self.everything();
        };
        let first = self.changes.len() - (self.at.n - position.n) as usize;
        let (mut size, mut count) = (0, 0);
        for change in self.changes.range(first..) {
            if count > 0 && size + change.len() > PIECE {
                break;
            }
            size += change.len();
            count += 1;
        }
        let piece = match count {
            0 => return Next::Nothing,
            1 => self.changes[first].clone(),
            _ => {
                let mut piece = BytesMut::with_capacity(size);
                self.changes.range(first..first + count).for_each(|change| piece.extend(change));
                piece.freeze()
            }
        };
        Next::Changes(piece, Position { n: position.n + count as u64, ..position })
    }

    /// A snapshot of the view, serialised once for all watchers that begin before it changes.
    fn everything(&mut self) -> Next {
        let last = self.snapshot.take();
        let usable = last.and_then(|last| {
            if last.at == self.at {
                return Some(last);
            }
            self.superseded.keep(last.items);
            None
        });
        let snapshot = usable.unwrap_or_else(|| {
            let mut items = Vec::with_capacity(self.view.values().map(|json| json.len() + 1).sum());
            for json in self.view.values() {
                if !items.is_empty() {
                    items.push(b',');
                }
                items.extend_from_slice(json);
            }
            Snapshot { items: Arc::new(items), at: self.at }
        });
        let prefix = format!("event: reset\nid: {}\ndata: {{\"instances\":[", snapshot.at);
        let all = 0..snapshot.items.len();
        let next =
            Next::Everything(Reader::new(&snapshot.items, all, prefix, "]}\n\n"), snapshot.at);
        self.snapshot = Some(snapshot);
        next
    }
}

fn gone(id: &InstanceId) -> Vec<u8> {
    serde_json::json!({ "id": id.as_str() }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use gosd_core::Instance;

    use super::*;

    fn instance(service: &str) -> Instance {
        Instance::new(service, "http://h").unwrap()
    }

    fn text(next: Next) -> (String, Position) {
        match next {
            Next::Changes(piece, at) => (String::from_utf8(piece.to_vec()).unwrap(), at),
            Next::Everything(mut reader, at) => {
                let mut text = Vec::new();
                while let Some(piece) = reader.piece().unwrap() {
                    text.extend(piece);
                }
                (String::from_utf8(text).unwrap(), at)
            }
            Next::Nothing => panic!("nothing"),
        }
    }

    #[test]
    fn a_new_watcher_gets_a_snapshot_and_then_the_changes() {
        let mut log = Log::new(Arc::default());
        let (a, b) = (instance("a"), instance("b"));
        assert!(log.apply(Event::Reset(vec![a.clone()])));
        let (reset, at) = text(log.after(None));
        let json = a.to_json();
        assert_eq!(reset, format!("event: reset\nid: {at}\ndata: {{\"instances\":[{json}]}}\n\n"));
        assert!(matches!(log.after(Some(at)), Next::Nothing));

        assert!(log.apply(Event::Put(b.clone())));
        assert!(!log.apply(Event::Put(b.clone())));
        assert!(log.apply(Event::Expire(a.id().clone())));
        assert!(!log.apply(Event::Remove(a.id().clone())));
        let (changes, later) = text(log.after(Some(at)));
        let (put, expire) = changes.split_once("\n\n").unwrap();
        assert!(put.starts_with("event: put\nid: ") && put.ends_with(&b.to_json()), "{put}");
        assert!(expire.starts_with("event: expire\n"), "{expire}");
        assert!(expire.ends_with(&format!("id: {later}\ndata: {{\"id\":\"{}\"}}\n\n", a.id())));
        assert_eq!(later.to_string().parse(), Ok(later));
    }

    #[test]
    fn a_position_that_the_log_no_longer_has_starts_with_a_snapshot() {
        let mut log = Log::new(Arc::default());
        let (_, before) = text(log.after(None));
        log.apply(Event::Reset(vec![instance("a")]));
        assert!(!log.reaches(before));
        let (_, at) = text(log.after(Some(before)));
        let same = |log: &Log| {
            Event::Reset(
                log.view
                    .values()
                    .map(|json| Instance::from_json(str::from_utf8(json).unwrap()).unwrap())
                    .collect(),
            )
        };
        assert!(!log.apply(same(&log)) && log.reaches(at));
        assert!(!log.reaches(Position { n: at.n + 1, ..at }));
        let one = instance("a");
        for n in 0..2 * KEPT / 8_000 {
            let value = format!("{n}{}", "x".repeat(8_000));
            log.apply(Event::Put(one.clone().with_metadata("k", &value)));
        }
        assert!(log.size <= KEPT && !log.reaches(at));
        assert_eq!(log.changes.iter().map(Bytes::len).sum::<usize>(), log.size);
    }

    #[test]
    fn one_snapshot_serves_all_watchers_that_begin_before_the_next_change() {
        let mut log = Log::new(Arc::default());
        let one = instance("a");
        log.apply(Event::Reset(vec![one.clone()]));
        let snapshot = |log: &mut Log| {
            text(log.after(None));
            Arc::clone(&log.snapshot.as_ref().unwrap().items)
        };
        let first = snapshot(&mut log);
        assert!(Arc::ptr_eq(&first, &snapshot(&mut log)));
        let other = instance("b");
        log.apply(Event::Put(other.clone()));
        assert!(text(log.after(None)).0.contains(&other.to_json()));
        assert!(!Arc::ptr_eq(&first, &snapshot(&mut log)));
        assert!(log.shows(other.id(), Some(&other.to_json())) && !log.shows(other.id(), None));
    }
}
