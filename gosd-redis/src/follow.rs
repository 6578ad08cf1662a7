use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use gosd_core::{Event, InstanceId};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::Instant;

use crate::layout::Keys;
use crate::scripts::{GRACE, millis};
use crate::snapshot::{self, START, Snapshot};

/// No lease is shorter.
const LEAST_LEASE: Duration = Duration::from_secs(1);

/// Where a watch is: what it has to know in order to notice what the stream does not tell.
///
/// The Go library changes the registry without a word. What it does shows in a number, and in the
/// few fields that are not ours: (fields - leases) stays the same whatever gosd does, since each of
/// its instances has one of both. So nothing has to be read that grows with the registry.
pub(crate) struct Follow {
    /// The position of the last change seen.
    pub(crate) position: String,
    /// What the entry there holds, once it is known: after a wipe another one may get its position.
    pub(crate) entry: Option<Vec<Value>>,
    /// The fields that nobody need tell of: those not in gosd's form, and those without a lease.
    foreign: HashMap<InstanceId, String>,
    /// How many more fields than leases there are, as far as is known.
    pub(crate) surplus: i64,
    /// Up to when expiries have been announced without being purged, in ms by the server's clock.
    pub(crate) announced: u64,
    /// When to look next.
    pub(crate) look_at: Instant,
}

/// What one look tells, at one instant.
pub(crate) struct Glance {
    /// In ms, by the server's clock.
    pub(crate) now: u64,
    position_exists: bool,
    /// The position of the last change there is.
    pub(crate) last: String,
    /// When the first lease runs out that has not been announced.
    next_expiry: Option<u64>,
    surplus: i64,
    foreign: Vec<Option<String>>,
}

impl Follow {
    /// Begins where a snapshot of what has not expired ends.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let foreign = snapshot.instances.iter().filter(|instance| !instance.id().is_generated());
        let foreign: HashMap<_, _> =
            foreign.map(|instance| (instance.id().clone(), instance.url().to_owned())).collect();
        Self {
            position: snapshot.position.clone(),
            entry: None,
            // If this is wrong, the first look tells.
            surplus: foreign.len() as i64,
            foreign,
            announced: 0,
            look_at: Instant::now(),
        }
    }

    /// Takes note of a change that the stream tells of.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Put(instance) => {
                // Its lease may be the next to run out.
                self.look_at = self.look_at.min(Instant::now() + LEAST_LEASE);
                if !instance.id().is_generated() {
                    self.foreign.insert(instance.id().clone(), instance.url().to_owned());
                }
            }
            Event::Remove(id) | Event::Expire(id) => drop(self.foreign.remove(id)),
            _ => {}
        }
    }

    /// Whether what stands at the position is what stood there before.
    pub(crate) fn is_at(&self, found: Option<&Vec<Value>>) -> bool {
        found.is_some_and(|found| self.entry.as_ref().is_none_or(|known| known == found))
    }

    /// Whether somebody changed the registry without telling.
    pub(crate) fn disagrees_with(&self, glance: &Glance) -> bool {
        let known = self.foreign.values().map(|url| Some(url.as_str()));
        self.surplus != glance.surplus || !known.eq(glance.foreign.iter().map(Option::as_deref))
    }

    /// Tells what was changed without a word, and returns those of gosd's form that lack a lease.
    pub(crate) fn take_in(
        &mut self,
        all: Snapshot,
        events: &mut VecDeque<Event>,
    ) -> Vec<InstanceId> {
        self.surplus = all.fields as i64 - all.leases as i64;
        let mut leaseless = Vec::new();
        let mut foreign = HashMap::new();
        let mut orphans = all.leased;
        for instance in all.instances {
            let id = instance.id();
            let before = self.foreign.remove(id);
            let has_lease = orphans.remove(id.as_str());
            match (id.is_generated(), has_lease) {
                (true, true) => continue,
                (true, false) => leaseless.push(id.clone()),
                (false, _) => {}
            }
            foreign.insert(id.clone(), instance.url().to_owned());
            if before.as_deref() != Some(instance.url()) {
                events.push_back(Event::Put(instance));
            }
        }
        // Gone without a word: what was known and is not there, and leases without a field.
        let gone =
            self.foreign.drain().map(|(id, _)| id).chain(orphans.into_iter().map(Into::into));
        events.extend(gone.map(Event::Remove));
        self.foreign = foreign;
        leaseless
    }
}

impl Glance {
    pub(crate) async fn read(
        redis: &mut MultiplexedConnection,
        keys: &Keys,
        follow: &Follow,
    ) -> RedisResult<Self> {
        // HMGET takes at least one field; nobody minds the answer to the empty one.
        let foreign = follow.foreign.keys().map(AsRef::as_ref).chain([""]);
        type Entry = (String, Vec<Value>);
        type Reply =
            ((u64, u64), Vec<Entry>, Vec<(String, Value)>, i64, i64, Vec<(Value, f64)>, Vec<Value>);
        let (time, at_position, last, fields, leases, next, mut urls): Reply = redis::pipe()
            .atomic()
            .cmd("TIME")
            .cmd("XRANGE")
            .arg(&keys.events)
            .arg(&follow.position)
            .arg(&follow.position)
            .cmd("XREVRANGE")
            .arg(&keys.events)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .cmd("HLEN")
            .arg(&keys.registry)
            .cmd("ZCARD")
            .arg(&keys.leases)
            .cmd("ZRANGEBYSCORE")
            .arg(&keys.leases)
            .arg(format!("({}", follow.announced))
            .arg("+inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(0)
            .arg(1)
            .cmd("HMGET")
            .arg(&keys.registry)
            .arg(foreign.collect::<Vec<&str>>())
            .query_async(redis)
            .await?;
        urls.pop();
        Ok(Self {
            now: snapshot::millis(time),
            position_exists: follow.is_at(at_position.first().map(|(_, fields)| fields)),
            last: last
                .into_iter()
                .next()
                .map_or_else(|| START.to_owned(), |(position, _)| position),
            next_expiry: next.first().map(|(_, at)| *at as u64),
            surplus: fields - leases,
            foreign: urls.into_iter().map(text).collect(),
        })
    }

    /// Whether the stream goes on from the position of the follower, who was away.
    pub(crate) fn is_after(&self, follow: &Follow) -> bool {
        // What came first to an empty stream may have come first to another one.
        if follow.position == START { self.last == START } else { self.position_exists }
    }

    /// Whether the oldest unannounced lease has been over for so long that it is to be purged.
    pub(crate) fn is_overdue(&self) -> bool {
        self.next_expiry.is_some_and(|at| at + millis(GRACE) <= self.now)
    }

    /// How long the next lease to run out has left, if there is one.
    pub(crate) fn lease_left(&self) -> Option<Duration> {
        self.next_expiry.map(|at| Duration::from_millis(at.saturating_sub(self.now)))
    }
}

/// The instances whose lease ran out in a time, in ms by the server's clock: after `from`, until `to`.
pub(crate) async fn expired(
    redis: &mut MultiplexedConnection,
    keys: &Keys,
    from: u64,
    to: u64,
) -> RedisResult<Vec<InstanceId>> {
    let ids: Vec<Value> = redis::cmd("ZRANGEBYSCORE")
        .arg(&keys.leases)
        .arg(format!("({from}"))
        .arg(to)
        .query_async(redis)
        .await?;
    Ok(ids.into_iter().filter_map(text).map(InstanceId::from).collect())
}

/// The pairs of an entry's fields that are text.
pub(crate) fn text_pairs(values: Vec<Value>) -> impl Iterator<Item = (String, String)> {
    let mut values = values.into_iter();
    std::iter::from_fn(move || Some((values.next()?, values.next()?)))
        .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
}

/// Takes the text out of a reply.
fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use gosd_core::Instance;

    use super::*;

    fn follow() -> Follow {
        let look_at = Instant::now() + Duration::from_secs(60);
        let foreign = HashMap::from([("go-1".into(), "http://a".to_owned())]);
        Follow { position: "1-1".into(), entry: None, foreign, surplus: 1, announced: 0, look_at }
    }

    fn glance(surplus: i64, url: &str) -> Glance {
        Glance {
            now: 0,
            position_exists: true,
            last: "1-1".into(),
            next_expiry: None,
            surplus,
            foreign: vec![Some(url.to_owned())],
        }
    }

    #[test]
    fn a_new_lease_is_looked_at_before_it_can_be_over() {
        let mut follow = follow();
        follow.note(&Event::Put(Instance::new("mail", "http://h").unwrap()));
        assert!(follow.look_at <= Instant::now() + LEAST_LEASE);
        assert_eq!(follow.foreign.len(), 1);
    }

    #[test]
    fn what_go_does_shows() {
        let mut follow = follow();
        assert!(!follow.disagrees_with(&glance(1, "http://a")));
        assert!(follow.disagrees_with(&glance(2, "http://a")), "one more field");
        assert!(follow.disagrees_with(&glance(1, "http://b")), "another URL");
        follow.note(&Event::Remove("go-1".into()));
        assert!(follow.disagrees_with(&glance(0, "http://a")), "it is known to be gone");
    }

    #[test]
    fn only_what_nobody_told_is_told() {
        let mut follow = follow();
        let parts = |id: &str, url| Instance::from_parts(id.into(), "go", url, [].into());
        let [ours, lost] = [(); 2].map(|()| Instance::new("mail", "http://h").unwrap());
        let leased = [ours.id().to_string(), "mail-orphan".to_owned()].into();
        let all = Snapshot {
            instances: vec![ours, lost.clone(), parts("go-2", "http://b")],
            fields: 3,
            leases: 2,
            leased,
            position: "1-1".into(),
        };
        let mut events = VecDeque::new();
        assert_eq!(follow.take_in(all, &mut events), [lost.id().clone()]);
        let expected = [
            Event::Put(lost),
            Event::Put(parts("go-2", "http://b")),
            Event::Remove("go-1".into()),
            Event::Remove("mail-orphan".into()),
        ];
        assert_eq!(events, expected);
        assert_eq!((follow.surplus, follow.foreign.len()), (1, 2));
    }
}
