//! The diagnosis of the server and of what is registered in it, for `gosd doctor`.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gosd_core::{BoxFuture, Fact, InstanceId, Result};
use redis::{RedisResult, Value};
use tokio::time::{Instant, sleep};

use crate::answers::Answers;
use crate::connection::Connection;
use crate::layout::{self, Keys};
use crate::options::Options;
use crate::{error, scripts, snapshot};

/// How long each answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// A client renews a lease after a third of it, give or take a tenth of that. So the time left on a renewed
/// lease, times this factor, is at least the whole lease.
const WHOLE: f64 = 1.6;
/// How many leases are watched until they are renewed.
const SAMPLE: usize = 32;
/// How often the watched leases are read.
const LOOK: Duration = Duration::from_millis(250);
/// From this part of its memory on, a server is about to refuse writes.
const ALMOST_FULL: f64 = 0.9;

/// Finds problems, present or likely, of the server of a URL and of what it holds.
///
/// Redis stores when a lease ends, and not how long it is. So if some leases may be shorter than `lease`, a
/// sample is watched until it is renewed, for a third of `lease` at most.
///
/// # Errors
///
/// As for the methods of the driver.
pub fn diagnose(url: &str, lease: Duration) -> BoxFuture<'_, Result<Vec<Fact>>> {
    Box::pin(async move {
        let options = Options::parse(url)?;
        let connection = Connection::open(&options).await?;
        let mut redis = connection.redis.clone().within(ANSWER);
        let mut facts = vec![clock(&mut redis).await?];
        facts.extend(memory(&mut redis).await);
        let keys = Keys::new(&options.namespace);
        let looked = async {
            let watched = records(&mut redis, &keys, lease, &mut facts).await?;
            renewals(&mut redis, &keys, lease, watched, &mut facts).await
        };
        if let Err(error) = looked.await {
            let error = error::from_redis(&error);
            // The facts so far may explain the error: a server without memory refuses transactions.
            facts.push(Fact::Trouble {
                name: "not-checked",
                what: format!("the records and their leases cannot be looked at: {error}"),
                advice: "see to that first, and ask again".into(),
            });
        }
        Ok(facts)
    })
}

async fn clock(redis: &mut Answers) -> Result<Fact> {
    let before = now_ms();
    let time: RedisResult<(u64, u64)> = redis::cmd("TIME").query_async(redis).await;
    let time = snapshot::millis(time.map_err(|error| error::from_redis(&error))?);
    let after = now_ms();
    // The server read its clock at some moment between the two.
    let within = Duration::from_millis(after.saturating_sub(before).unsigned_abs());
    Ok(Fact::Clock { ahead_ms: time.cast_signed().saturating_sub(after), within })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    scripts::millis(since).cast_signed()
}

async fn memory(redis: &mut Answers) -> Option<Fact> {
    let info: RedisResult<String> = redis::cmd("INFO").arg("memory").query_async(redis).await;
    match info {
        Ok(info) => check_memory(&info),
        Err(error) => {
            let error = error::from_redis(&error);
            Some(Fact::Trouble {
                name: "not-checked",
                what: format!("whether Redis may evict the registry cannot be told: {error}"),
                advice: "let the user of gosd ask, by ACL SETUSER with +info".into(),
            })
        }
    }
}

fn check_memory(info: &str) -> Option<Fact> {
    let of = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim()
    };
    let number = |name: &str| of(name).parse::<u64>().unwrap_or_default();
    let (policy, most, used) = (of("maxmemory_policy"), number("maxmemory"), number("used_memory"));
    if most == 0 {
        return None;
    }
    // Keys without a time to live, such as gosd's, are not touched by the policies for volatile keys.
    if policy.starts_with("allkeys") {
        return Some(Fact::Trouble {
            name: "eviction",
            what: format!(
                "Redis evicts keys when it has {most} bytes (maxmemory-policy {policy}), the registry \
                 among them"
            ),
            advice:
                "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf; volatile-lru \
                     will do, too; or take another Redis for what is a cache"
                    .into(),
        });
    }
    (used as f64 >= most as f64 * ALMOST_FULL).then(|| Fact::Trouble {
        name: "memory",
        what: format!(
            "Redis uses {used} of its {most} bytes, and refuses registrations when they are used up"
        ),
        advice: "raise maxmemory, or find out what fills it (redis-cli --bigkeys)".into(),
    })
}

/// Reads and checks each record; returns the leases that may be shorter than `lease`, each with its end.
async fn records(
    redis: &mut Answers,
    keys: &Keys,
    lease: Duration,
    facts: &mut Vec<Fact>,
) -> RedisResult<HashMap<String, u64>> {
    let mut ask = redis::pipe();
    ask.atomic().cmd("TIME").cmd("HGETALL").arg(&keys.registry).cmd("HGETALL").arg(&keys.meta);
    ask.cmd("ZRANGE").arg(&keys.leases).arg(0).arg(-1).arg("WITHSCORES");
    type Pairs = HashMap<Vec<u8>, Vec<u8>>;
    let (time, fields, meta, ends): ((u64, u64), Pairs, Pairs, HashMap<Vec<u8>, f64>) =
        ask.query_async(redis).await?;
    let now = snapshot::millis(time);
    let mut watched = HashMap::new();
    for (id, url) in &fields {
        let shown = String::from_utf8_lossy(id);
        match read(id, url, meta.get(id).map(Vec::as_slice)) {
            Ok(_) => {}
            Err(what) => {
                let advice = format!("HDEL {} {shown:?}", keys.registry);
                facts.push(Fact::Unreadable { what: format!("{what} ({advice} removes it)") });
                continue;
            }
        }
        let id: InstanceId = shown.as_ref().into();
        let end = ends.get(id.as_str().as_bytes()).filter(|end| **end != f64::INFINITY);
        let Some(end) = end.map(|end| *end as u64) else {
            facts.push(Fact::NoLease { id });
            continue;
        };
        // An expired lease is about to be removed.
        let Some(left) = end.checked_sub(now).map(Duration::from_millis) else { continue };
        if left.mul_f64(WHOLE) >= lease {
            facts.push(Fact::Lease { id, at_least: left, at_most: left.mul_f64(WHOLE) });
        } else if watched.len() < SAMPLE {
            watched.insert(id.as_str().to_owned(), end);
        }
    }
    Ok(watched)
}

fn read(id: &[u8], url: &[u8], meta: Option<&[u8]>) -> std::result::Result<(), String> {
    let shown = String::from_utf8_lossy(id);
    let text = |bytes| str::from_utf8(bytes).map_err(|_| format!("{shown:?} is not UTF-8"));
    let meta = meta.map(text).transpose()?;
    layout::instance(text(id)?, text(url)?, meta).map(drop).map_err(|error| error.to_string())
}

/// Watches leases until they are renewed, because a lease that was just renewed shows its whole length.
async fn renewals(
    redis: &mut Answers,
    keys: &Keys,
    lease: Duration,
    mut watched: HashMap<String, u64>,
    facts: &mut Vec<Fact>,
) -> RedisResult<()> {
    // A client with the lease of this environment has renewed by then.
    let until = Instant::now() + lease.mul_f64(1.1 / 3.0) + LOOK;
    while !watched.is_empty() && Instant::now() < until {
        sleep(LOOK).await;
        let ids: Vec<String> = watched.keys().cloned().collect();
        let mut ask = redis::pipe();
        ask.atomic().cmd("TIME");
        for id in &ids {
            ask.cmd("ZSCORE").arg(&keys.leases).arg(id);
        }
        let mut replies = ask.query_async::<Vec<Value>>(redis).await?.into_iter();
        let now = snapshot::millis(redis::from_redis_value(replies.next().unwrap_or(Value::Nil))?);
        for (id, reply) in ids.into_iter().zip(replies) {
            let Some(end) = redis::from_redis_value::<Option<f64>>(reply)?.map(|end| end as u64)
            else {
                watched.remove(&id);
                continue;
            };
            if watched.get(&id).is_some_and(|before| end > *before) {
                watched.remove(&id);
                let left = Duration::from_millis(end.saturating_sub(now));
                facts.push(Fact::Lease { id: id.into(), at_least: left, at_most: left + 2 * LOOK });
            }
        }
    }
    // A lease that was not renewed belongs to a dead instance, and its length stays unknown.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(policy: &str, most: u64, used: u64) -> Option<&'static str> {
        let info = format!(
            "# Memory\r\nused_memory:{used}\r\nused_memory_rss:1\r\nmaxmemory:{most}\r\n\
             maxmemory_human:0B\r\nmaxmemory_policy:{policy}\r\n"
        );
        match check_memory(&info)? {
            Fact::Trouble { name, .. } => Some(name),
            _ => None,
        }
    }

    #[test]
    fn eviction_and_a_full_memory_are_facts() {
        for (policy, most, used, expected) in [
            ("noeviction", 0, 1_000, None),
            ("allkeys-lru", 0, 1_000, None),
            ("allkeys-lru", 1_000, 1, Some("eviction")),
            ("allkeys-random", 1_000, 999, Some("eviction")),
            ("volatile-ttl", 1_000, 1, None),
            ("volatile-ttl", 1_000, 900, Some("memory")),
            ("noeviction", 1_000, 899, None),
            ("noeviction", 1_000, 2_000, Some("memory")),
        ] {
            assert_eq!(name(policy, most, used), expected, "{policy} {most} {used}");
        }
    }
}
