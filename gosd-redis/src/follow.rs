use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::time::Duration;

use gosd_core::{Event, InstanceId};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::Instant;

use crate::layout::Keys;
use crate::snapshot;

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
    pub(crate) position_exists: bool,
    /// The position of the last change there is.
    pub(crate) last: String,
    /// When the first lease runs out that has not been announced.
    next_expiry: Option<u64>,
    surplus: i64,
    foreign: Vec<Option<String>>,
}

/// All of the registry, and who has a lease.
pub(crate) struct Everything {
    snapshot: snapshot::Raw,
    leases: Vec<Value>,
}

impl Follow {
    pub(crate) fn new(position: String, foreign: HashMap<InstanceId, String>) -> Self {
        // If this is wrong, the first look tells.
        let surplus = foreign.len() as i64;
        Self { position, foreign, surplus, announced: 0, look_at: Instant::now() }
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

    /// Whether somebody changed the registry without telling.
    pub(crate) fn disagrees_with(&self, glance: &Glance) -> bool {
        let known = self.foreign.values().map(|url| Some(url.as_str()));
        self.surplus != glance.surplus || !known.eq(glance.foreign.iter().map(Option::as_deref))
    }

    /// Tells what was changed without a word, and returns those of gosd's form that lack a lease.
    pub(crate) fn take_in(
        &mut self,
        all: Everything,
        events: &mut VecDeque<Event>,
        skip: impl Fn(&dyn Display),
    ) -> Vec<InstanceId> {
        self.surplus = all.snapshot.fields.len() as i64 / 2 - all.leases.len() as i64;
        let leases: HashSet<String> = all.leases.into_iter().filter_map(snapshot::text).collect();
        let snapshot = all.snapshot.decode(skip);
        let mut leaseless = Vec::new();
        let mut foreign = HashMap::new();
        let mut orphans = leases.clone();
        for instance in snapshot.instances {
            let id = instance.id();
            orphans.remove(id.as_str());
            let has_lease = leases.contains(id.as_str());
            if !has_lease && id.is_generated() {
                leaseless.push(id.clone());
            }
            if has_lease && id.is_generated() {
                continue;
            }
            let before = self.foreign.remove(id);
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
        type Reply =
            ((u64, u64), Vec<Value>, Vec<(String, Value)>, i64, i64, Vec<(Value, f64)>, Vec<Value>);
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
            now: snapshot::server_millis(time),
            position_exists: !at_position.is_empty(),
            last: snapshot::position(last),
            next_expiry: next.first().map(|(_, at)| *at as u64),
            surplus: fields - leases,
            foreign: urls.into_iter().map(snapshot::text).collect(),
        })
    }

    /// For how long the oldest unannounced lease has been over, if it is.
    pub(crate) fn lease_over_for(&self) -> Option<Duration> {
        self.now.checked_sub(self.next_expiry?).map(Duration::from_millis)
    }

    /// How long the next lease to run out has left, if there is one.
    pub(crate) fn lease_left(&self) -> Option<Duration> {
        self.next_expiry.map(|at| Duration::from_millis(at.saturating_sub(self.now)))
    }
}

impl Everything {
    pub(crate) async fn read(redis: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<Self> {
        let (fields, meta, leases, last): (_, _, _, Vec<(String, Value)>) = redis::pipe()
            .atomic()
            .cmd("HGETALL")
            .arg(&keys.registry)
            .cmd("HGETALL")
            .arg(&keys.meta)
            .cmd("ZRANGE")
            .arg(&keys.leases)
            .arg(0)
            .arg(-1)
            .cmd("XREVRANGE")
            .arg(&keys.events)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(redis)
            .await?;
        let position = snapshot::position(last);
        Ok(Self { snapshot: snapshot::Raw { fields, meta, expired: Vec::new(), position }, leases })
    }

    pub(crate) fn position(&self) -> &str {
        &self.snapshot.position
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
    Ok(ids.into_iter().filter_map(snapshot::text).map(InstanceId::from).collect())
}
