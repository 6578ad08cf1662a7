//! The log of a namespace: its latest changes, serialised for watchers, and the resulting view.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gosd_core::{Event, Instance, InstanceId};

use crate::change::{Change, Position};
use crate::grouped::Grouped;
use crate::news::Concern;
use crate::snapshot::{Reader, Superseded};
use crate::wanted::Wanted;

/// How many bytes of changes are kept for watchers that reconnect or fall behind.
const KEPT: usize = 8 * 1_024 * 1_024;
/// The approximate number of bytes that a watcher gets at once.
const PIECE: usize = 16 * 1_024;

/// The registered instances.
type View = BTreeMap<InstanceId, Known>;

/// An instance of the view.
#[derive(PartialEq, Eq)]
struct Known {
    service: Arc<str>,
    json: Bytes,
}

/// The changes, and the resulting view.
pub(crate) struct Log {
    view: View,
    at: Position,
    /// The changes up to `at`.
    changes: VecDeque<Change>,
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
    all: Grouped,
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
        self.view.get(id).map(|known| &known.json[..]) == json.map(str::as_bytes)
    }

    pub(crate) fn contains(&self, id: &InstanceId) -> bool {
        self.view.contains_key(id)
    }

    /// Applies an event, and returns what its change concerns.
    pub(crate) fn apply(&mut self, event: Event) -> Concern {
        match event {
            Event::Put(instance) => {
                let known = Known::new(&instance);
                let before = self.view.get(instance.id());
                if before == Some(&known) {
                    return Concern::Nothing;
                }
                let before = before.map(|before| Arc::clone(&before.service));
                let left = before.filter(|service| *service != known.service);
                self.count("put");
                self.at.n += 1;
                let mut change = Change::put(self.at, &known.service, &known.json);
                if let Some(service) = &left {
                    let removed = Change::gone("remove", self.at, service, instance.id());
                    change = change.leaving(removed);
                }
                self.push(change);
                let service = Arc::clone(&known.service);
                self.view.insert(instance.id().clone(), known);
                Concern::Services(service, left)
            }
            Event::Remove(id) => self.remove("remove", &id),
            Event::Expire(id) => self.remove("expire", &id),
            Event::Reset(all) => {
                self.begun = true;
                let known = |i: Instance| (i.id().clone(), Known::new(&i));
                let view: View = all.into_iter().map(known).collect();
                // A `Reset` with the same view changes nothing for watchers, and follows each lost
                // connection.
                if view == self.view {
                    return Concern::Nothing;
                }
                self.view = view;
                self.at = Self::begin();
                self.changes.clear();
                self.size = 0;
                self.count("reset");
                Concern::Everything
            }
            _ => Concern::Nothing,
        }
    }

    fn remove(&mut self, name: &str, id: &InstanceId) -> Concern {
        let Some(known) = self.view.remove(id) else { return Concern::Nothing };
        self.count(name);
        self.at.n += 1;
        self.push(Change::gone(name, self.at, &known.service, id));
        Concern::Services(known.service, None)
    }

    fn push(&mut self, change: Change) {
        self.size += change.size();
        self.changes.push_back(change);
        while self.size > KEPT {
            self.size -= self.changes.pop_front().map_or(self.size, |oldest| oldest.size());
        }
    }

    /// Whether the log has all changes after the position.
    pub(crate) fn reaches(&self, position: Position) -> bool {
        let oldest = self.at.n - self.changes.len() as u64;
        position.epoch == self.at.epoch && (oldest..=self.at.n).contains(&position.n)
    }

    /// What follows a position, for a watcher. The piece is empty if nothing of it is for this watcher.
    pub(crate) fn after(&mut self, position: Option<Position>, wanted: &Wanted) -> Next {
        let Some(position) = position.filter(|position| self.reaches(*position)) else {
            return self.everything(wanted);
        };
        let first = self.changes.len() - (self.at.n - position.n) as usize;
        let mark = wanted.mark().as_bytes();
        let (mut seen, mut size, mut count) = (Vec::new(), 0, 0);
        for change in self.changes.range(first..) {
            if let Some(change) = change.seen_by(wanted) {
                let added = change.text.len() + mark.len();
                if !seen.is_empty() && size + added > PIECE {
                    break;
                }
                size += added;
                seen.push(change);
            }
            count += 1;
        }
        let piece = match seen[..] {
            _ if count == 0 => return Next::Nothing,
            [change] if mark.is_empty() => change.text.clone(),
            _ => {
                let mut piece = BytesMut::with_capacity(size);
                for change in seen {
                    let (head, rest) = change.text.split_at(change.mark_at);
                    [head, mark, rest].into_iter().for_each(|part| piece.extend_from_slice(part));
                }
                piece.freeze()
            }
        };
        Next::Changes(piece, Position { n: position.n + count, ..position })
    }

    /// A snapshot of the view, serialised once for all watchers that begin before it changes.
    fn everything(&mut self, wanted: &Wanted) -> Next {
        let last = self.snapshot.take();
        let usable = last.and_then(|last| {
            if last.at == self.at {
                return Some(last);
            }
            self.superseded.keep(last.all.items);
            None
        });
        let snapshot = usable.unwrap_or_else(|| {
            let mut all: Vec<&Known> = self.view.values().collect();
            // Ids begin with the name of the service, so that most of them are in this order already.
            all.sort_by(|a, b| a.service.cmp(&b.service));
            let all = all.into_iter().map(|known| (&*known.service, &known.json));
            Snapshot { all: Grouped::new(all).0, at: self.at }
        });
        let (at, mark) = (snapshot.at, wanted.mark());
        let prefix = format!("event: reset\nid: {at}{mark}\ndata: {{\"instances\":[");
        let services = wanted.services().map(Arc::as_ref);
        let reader = snapshot.all.reader(services, prefix, "]}\n\n");
        self.snapshot = Some(snapshot);
        Next::Everything(reader, at)
    }
}

impl Known {
    fn new(instance: &Instance) -> Self {
        Self { service: instance.service().into(), json: instance.to_json().into() }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

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
        assert_eq!(log.apply(Event::Reset(vec![a.clone()])), Concern::Everything);
        let (reset, at) = text(log.after(None, &Wanted::all()));
        let json = a.to_json();
        assert_eq!(reset, format!("event: reset\nid: {at}\ndata: {{\"instances\":[{json}]}}\n\n"));
        assert!(matches!(log.after(Some(at), &Wanted::all()), Next::Nothing));

        assert_eq!(log.apply(Event::Put(b.clone())), Concern::Services("b".into(), None));
        assert_eq!(log.apply(Event::Put(b.clone())), Concern::Nothing);
        let expired = log.apply(Event::Expire(a.id().clone()));
        assert_eq!(expired, Concern::Services("a".into(), None));
        assert_eq!(log.apply(Event::Remove(a.id().clone())), Concern::Nothing);
        let (changes, later) = text(log.after(Some(at), &Wanted::all()));
        let (put, expire) = changes.split_once("\n\n").unwrap();
        assert!(put.starts_with("event: put\nid: ") && put.ends_with(&b.to_json()), "{put}");
        assert!(expire.starts_with("event: expire\n"), "{expire}");
        assert!(expire.ends_with(&format!("id: {later}\ndata: {{\"id\":\"{}\"}}\n\n", a.id())));
        assert_eq!(later.to_string().parse(), Ok(later));
    }

    #[test]
    fn a_position_that_the_log_no_longer_has_starts_with_a_snapshot() {
        let mut log = Log::new(Arc::default());
        let (_, before) = text(log.after(None, &Wanted::all()));
        log.apply(Event::Reset(vec![instance("a")]));
        assert!(!log.reaches(before));
        let (_, at) = text(log.after(Some(before), &Wanted::all()));
        let same = |log: &Log| {
            Event::Reset(
                log.view
                    .values()
                    .map(|it| Instance::from_json(str::from_utf8(&it.json).unwrap()).unwrap())
                    .collect(),
            )
        };
        assert!(log.apply(same(&log)) == Concern::Nothing && log.reaches(at));
        assert!(!log.reaches(Position { n: at.n + 1, ..at }));
        let one = instance("a");
        for n in 0..2 * KEPT / 8_000 {
            let value = format!("{n}{}", "x".repeat(8_000));
            log.apply(Event::Put(one.clone().with_metadata("k", &value)));
        }
        assert!(log.size <= KEPT && !log.reaches(at));
        assert_eq!(log.changes.iter().map(Change::size).sum::<usize>(), log.size);
    }

    #[test]
    fn one_snapshot_serves_all_watchers_that_begin_before_the_next_change() {
        let mut log = Log::new(Arc::default());
        let one = instance("a");
        log.apply(Event::Reset(vec![one.clone()]));
        let snapshot = |log: &mut Log| {
            text(log.after(None, &Wanted::all()));
            Arc::clone(&log.snapshot.as_ref().unwrap().all.items)
        };
        let first = snapshot(&mut log);
        assert!(Arc::ptr_eq(&first, &snapshot(&mut log)));
        let other = instance("b");
        log.apply(Event::Put(other.clone()));
        assert!(text(log.after(None, &Wanted::all())).0.contains(&other.to_json()));
        assert!(!Arc::ptr_eq(&first, &snapshot(&mut log)));
        assert!(log.shows(other.id(), Some(&other.to_json())) && !log.shows(other.id(), None));
    }

    #[test]
    fn a_watcher_of_some_services_gets_theirs_and_nothing_else() {
        let wanted = Wanted::by_query(Some("service=a,b"), &RandomState::new()).unwrap();
        let mut log = Log::new(Arc::default());
        let [a, b, c] = ["a", "b", "c"].map(instance);
        log.apply(Event::Reset(vec![c.clone(), b.clone(), a.clone()]));
        let (reset, at) = text(log.after(None, &wanted));
        let (json, mark) = (format!("{},{}", a.to_json(), b.to_json()), wanted.mark());
        let expected =
            format!("event: reset\nid: {at}{mark}\ndata: {{\"instances\":[{json}]}}\n\n");
        assert_eq!(reset, expected);

        // What it did not ask for moves its position and nothing else.
        log.apply(Event::Remove(c.id().clone()));
        let (nothing, next) = text(log.after(Some(at), &wanted));
        assert_eq!((nothing.as_str(), next.n), ("", at.n + 1));
        assert!(matches!(log.after(Some(next), &wanted), Next::Nothing));

        log.apply(Event::Put(c.clone()));
        log.apply(Event::Expire(b.id().clone()));
        let (expire, at) = text(log.after(Some(next), &wanted));
        let data = format!("{{\"id\":\"{}\"}}", b.id());
        assert_eq!(expire, format!("event: expire\nid: {at}{mark}\ndata: {data}\n\n"));
        assert_eq!(wanted.position(&format!("{at}{mark}")), Some(at));
    }

    #[test]
    fn who_changes_to_another_service_is_gone_for_those_who_watch_the_former() {
        let keys = RandomState::new();
        let wanted = |query| Wanted::by_query(Some(query), &keys).unwrap();
        let mut log = Log::new(Arc::default());
        let a = instance("a");
        log.apply(Event::Reset(vec![a.clone()]));
        let (_, at) = text(log.after(None, &Wanted::all()));
        let moved = Instance::from_parts(a.id().clone(), "b", "http://h", [].into());
        let concern = log.apply(Event::Put(moved));
        assert_eq!(concern, Concern::Services("b".into(), Some("a".into())));
        let mut begins = |wanted: &Wanted, event: &str| {
            let (text, _) = text(log.after(Some(at), wanted));
            assert!(text.starts_with(&format!("event: {event}\n")), "{text}");
            assert_eq!(text.matches("event:").count(), 1, "{text}");
        };
        begins(&wanted("service=a"), "remove");
        begins(&wanted("service=b"), "put");
        begins(&wanted("service=a,b"), "put");
        begins(&Wanted::all(), "put");
    }
}
