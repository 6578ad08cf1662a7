use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};
use gosd_core::{Event, InstanceId};
use rpds::RedBlackTreeMapSync;

/// How many bytes of changes are kept for watchers that come back or fall behind.
const KEPT: usize = 8 * 1_024 * 1_024;
/// About how many bytes are handed to a watcher at once.
const PIECE: usize = 64 * 1_024;

/// What is registered, as JSON. A clone shares what it has in common with the original.
type View = RedBlackTreeMapSync<InstanceId, Bytes>;

/// A place in the changes since some snapshot, which the epoch names.
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

/// The latest changes of a namespace, as they are sent, and what they add up to.
pub(crate) struct Log {
    view: View,
    at: Position,
    /// The changes up to `at`.
    changes: VecDeque<Bytes>,
    size: usize,
    /// What there is has been told once.
    begun: bool,
}

/// What a watcher gets next.
pub(crate) enum Next {
    Nothing,
    Changes(Bytes, Position),
    Everything(Snapshot),
}

impl Log {
    pub(crate) fn new() -> Self {
        let at = Position { epoch: fastrand::u64(..), n: 0 };
        Self { view: View::new_sync(), at, changes: VecDeque::new(), size: 0, begun: false }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn len(&self) -> usize {
        self.view.size()
    }

    pub(crate) fn contains(&self, id: &InstanceId) -> bool {
        self.view.contains_key(id)
    }

    /// Takes an event in; says whether it changed anything.
    pub(crate) fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Put(instance) => {
                let json = Bytes::from(instance.to_json());
                if self.view.get(instance.id()) == Some(&json) {
                    return false;
                }
                self.push("put", &json);
                self.view.insert_mut(instance.id().clone(), json);
            }
            Event::Remove(id) if self.view.remove_mut(&id) => self.push("remove", &gone(&id)),
            Event::Expire(id) if self.view.remove_mut(&id) => self.push("expire", &gone(&id)),
            Event::Reset(all) => {
                self.begun = true;
                let json = |i: gosd_core::Instance| (i.id().clone(), Bytes::from(i.to_json()));
                let view: View = all.into_iter().map(json).collect();
                // To who knows the same already, a connection that was lost is no news.
                if view == self.view {
                    return false;
                }
                *self = Self { view, begun: true, ..Self::new() };
            }
            _ => return false,
        }
        true
    }

    fn push(&mut self, name: &str, data: &[u8]) {
        self.at.n += 1;
        let head = format!("event: {name}\nid: {}\ndata: ", self.at);
        let change = Bytes::from([head.as_bytes(), data, b"\n\n"].concat());
        self.size += change.len();
        self.changes.push_back(change);
        while self.size > KEPT {
            self.size -= self.changes.pop_front().map_or(self.size, |oldest| oldest.len());
        }
    }

    /// Whether all changes after the position are there.
    pub(crate) fn reaches(&self, position: Position) -> bool {
        let oldest = self.at.n - self.changes.len() as u64;
        position.epoch == self.at.epoch && (oldest..=self.at.n).contains(&position.n)
    }

    pub(crate) fn after(&self, position: Option<Position>) -> Next {
        let Some(position) = position.filter(|position| self.reaches(*position)) else {
            return Next::Everything(Snapshot { view: self.view.clone(), at: self.at, last: None });
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
}

fn gone(id: &InstanceId) -> Vec<u8> {
    serde_json::json!({ "id": id.as_str() }).to_string().into_bytes()
}

/// All that there was at a position, handed out piece by piece.
pub(crate) struct Snapshot {
    view: View,
    pub(crate) at: Position,
    /// Up to where it has been handed out.
    last: Option<InstanceId>,
}

impl Snapshot {
    /// The next piece, and whether it is the last.
    pub(crate) fn piece(&mut self) -> (Bytes, bool) {
        let mut piece = BytesMut::with_capacity(PIECE / 8);
        let rest = match &self.last {
            None => {
                let head = format!("event: reset\nid: {}\ndata: {{\"instances\":[", self.at);
                piece.extend_from_slice(head.as_bytes());
                (Bound::Unbounded, Bound::Unbounded)
            }
            Some(last) => (Bound::Excluded(last.clone()), Bound::Unbounded),
        };
        let mut first = self.last.is_none();
        for (id, json) in self.view.range(rest) {
            if piece.len() > PIECE {
                return (piece.freeze(), false);
            }
            if !first {
                piece.extend_from_slice(b",");
            }
            first = false;
            piece.extend_from_slice(json);
            self.last = Some(id.clone());
        }
        piece.extend_from_slice(b"]}\n\n");
        (piece.freeze(), true)
    }
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
            Next::Everything(mut snapshot) => {
                let mut text = String::new();
                loop {
                    let (piece, last) = snapshot.piece();
                    text += str::from_utf8(&piece).unwrap();
                    if last {
                        return (text, snapshot.at);
                    }
                }
            }
            Next::Nothing => panic!("nothing"),
        }
    }

    #[test]
    fn everything_and_then_the_changes() {
        let mut log = Log::new();
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
    fn a_position_that_is_out_of_reach_starts_anew() {
        let mut log = Log::new();
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
    fn large_snapshots_come_in_pieces() {
        let mut log = Log::new();
        let all: Vec<Instance> = (0..2_000).map(|_| instance("some-service")).collect();
        log.apply(Event::Reset(all.clone()));
        let Next::Everything(mut snapshot) = log.after(None) else { panic!("no snapshot") };
        assert!(!snapshot.piece().1);
        let (whole, _) = text(log.after(None));
        let json = whole.lines().nth(2).unwrap().strip_prefix("data: ").unwrap();
        let list: serde_json::Value = serde_json::from_str(json).unwrap();
        let read = list["instances"].as_array().unwrap().iter();
        let mut read: Vec<_> =
            read.map(|one| Instance::from_json(&one.to_string()).unwrap()).collect();
        read.sort_by(|a, b| a.id().cmp(b.id()));
        let mut all = all;
        all.sort_by(|a, b| a.id().cmp(b.id()));
        assert_eq!(read, all);
    }
}
