use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use gosd_core::{Instance, InstanceId};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};

use crate::layout::{self, Keys};

/// The position before the first entry of a stream.
pub(crate) const START: &str = "0-0";

/// The registry at one instant, as the server told it.
pub(crate) struct Raw {
    /// Ids and URLs by turns.
    pub(crate) fields: Vec<Value>,
    /// Ids and JSON by turns.
    pub(crate) meta: Vec<Value>,
    /// The ids whose lease has run out.
    pub(crate) expired: Vec<Value>,
    /// The position of the last change.
    pub(crate) position: String,
}

/// The registry at one instant.
pub(crate) struct Snapshot {
    pub(crate) instances: Vec<Instance>,
    /// The instances that are not in gosd's form: the Go library's, which tells nobody of changes.
    pub(crate) foreign: HashMap<InstanceId, String>,
    pub(crate) position: String,
}

/// Reads the registry and the position of the last change, in one step.
pub(crate) async fn read(redis: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<Raw> {
    let now = server_millis(redis::cmd("TIME").query_async(redis).await?);
    // Only the expired leases: the live ones are many, and would double the reply.
    let (fields, meta, expired, last): (_, _, _, Vec<(String, Value)>) = redis::pipe()
        .atomic()
        .cmd("HGETALL")
        .arg(&keys.registry)
        .cmd("HGETALL")
        .arg(&keys.meta)
        .cmd("ZRANGEBYSCORE")
        .arg(&keys.leases)
        .arg("-inf")
        .arg(now)
        .cmd("XREVRANGE")
        .arg(&keys.events)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .query_async(redis)
        .await?;
    Ok(Raw { fields, meta, expired, position: position(last) })
}

/// The position of the entry that a reversed range of one has, or the start.
pub(crate) fn position(last: Vec<(String, Value)>) -> String {
    last.into_iter().next().map_or_else(|| START.to_owned(), |(id, _)| id)
}

/// The server's clock, from its `TIME`.
pub(crate) fn server_millis((seconds, micros): (u64, u64)) -> u64 {
    seconds * 1_000 + micros / 1_000
}

impl Raw {
    /// Makes instances of the fields; what cannot be read is left out and told of.
    pub(crate) fn decode(self, skip: impl Fn(&dyn Display)) -> Snapshot {
        let meta: HashMap<String, String> = pairs(self.meta, &skip).collect();
        let expired: HashSet<String> = self.expired.into_iter().filter_map(text).collect();
        let mut instances = Vec::with_capacity(self.fields.len() / 2);
        let mut foreign = HashMap::new();
        for (id, url) in pairs(self.fields, &skip) {
            if expired.contains(&id) {
                continue;
            }
            let json = meta.get(&id).map(String::as_str);
            match layout::instance(id, &url, json) {
                Ok(instance) => {
                    if !instance.id().is_generated() {
                        foreign.insert(instance.id().clone(), url);
                    }
                    instances.push(instance);
                }
                Err(error) => skip(&error),
            }
        }
        Snapshot { instances, foreign, position: self.position }
    }
}

/// The pairs of a hash's reply that are text.
pub(crate) fn pairs(
    values: Vec<Value>,
    skip: impl Fn(&dyn Display),
) -> impl Iterator<Item = (String, String)> {
    let mut values = values.into_iter();
    std::iter::from_fn(move || Some((values.next()?, values.next()?))).filter_map(
        move |(key, value)| match (text(key), text(value)) {
            (Some(key), Some(value)) => Some((key, value)),
            (key, _) => {
                skip(&format_args!("the entry {} is not UTF-8", key.as_deref().unwrap_or("?")));
                None
            }
        },
    )
}

/// Takes the text out of a reply without copying it.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}
