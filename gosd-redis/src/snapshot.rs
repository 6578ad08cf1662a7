//! A snapshot of the registry, read in one transaction.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use gosd_core::{Error, ErrorKind, Instance, Result};
use redis::{Pipeline, RedisResult};

use crate::connection::{self, Connection};
use crate::driver::Redis;
use crate::replies::Replies;
use crate::{error, layout};

/// The position before the first entry of a stream.
pub(crate) const START: &str = "0-0";

/// How many commands the transaction has: for the metadata, the expired leases, the number of leases, the
/// last change, and the registry.
const COMMANDS: usize = 5;

/// For how many instances memory is reserved at most before they have arrived.
const RESERVED: usize = 100_000;

/// The registry at one instant.
pub(crate) struct Snapshot {
    /// The readable instances whose leases have not expired.
    pub(crate) instances: Vec<Instance>,
    /// How many more fields than leases the registry has, readable or not.
    pub(crate) surplus: i64,
    /// The position of the last change.
    pub(crate) position: String,
}

/// Reads the registry and the position of the last change, in one step.
///
/// On a new connection, so that nothing else has to wait behind a long reply.
///
/// # Errors
///
/// Also if the server refuses writes, because then expired leases mean nothing.
pub(crate) async fn read(driver: &Redis, connection: &Connection) -> Result<Snapshot> {
    let (options, keys, evidence) = (&driver.options, &driver.keys, &driver.evidence);
    let mut redis = connection.redis.clone();
    let sent = Instant::now();
    let time: RedisResult<(u64, u64)> = redis::cmd("TIME").query_async(&mut redis).await;
    let now = time.map(millis).map_err(|error| error::from_redis(&error))?;
    evidence.read_clock(now, sent, Instant::now());
    if evidence.should_write() {
        let purge = driver.scripts.purge(&mut redis, keys, evidence.dead(now)).await;
        evidence.wrote(purge, options.is_of_master())?;
    }
    let hidden = evidence.hidden(now).map_or(0, |span| span.until);

    let greeting = connection::greeting(options);
    let mut transaction = redis::pipe();
    transaction.atomic().cmd("HGETALL").arg(&keys.meta);
    transaction.cmd("ZRANGEBYSCORE").arg(&keys.leases).arg("-inf").arg(hidden);
    transaction.cmd("ZCARD").arg(&keys.leases);
    transaction.cmd("XREVRANGE").arg(&keys.events).arg("+").arg("-").arg("COUNT").arg(1);
    transaction.cmd("HGETALL").arg(&keys.registry);

    let (host, port) = &connection.host;
    let socket = gosd_net::open(host, *port, options.tls.as_ref()).await?;
    let mut replies = Replies::to(socket, &packed(&[&greeting, &transaction])).await?;
    // The answers to the greeting and to `MULTI`.
    for _ in 0..greeting.len() + 1 {
        replies.ok().await?;
    }
    take(&mut replies, |problem| driver.skip_unreadable(problem)).await
}

/// Parses the answers of the transaction. Records that cannot be read are reported and left out.
pub(crate) async fn take(
    replies: &mut Replies,
    skip: impl Fn(&dyn fmt::Display),
) -> Result<Snapshot> {
    // The answer `QUEUED` to each command.
    for _ in 0..COMMANDS {
        replies.ok().await?;
    }
    if replies.array().await? != COMMANDS {
        return Err(Error::new(ErrorKind::Data, "the answer lacks a part of the registry"));
    }

    let mut meta: HashMap<String, String> = HashMap::new();
    for _ in 0..replies.array().await? / 2 {
        let (id, json) = (replies.text().await?, replies.text().await?);
        match (id, json) {
            (Some(id), Some(json)) => drop(meta.insert(id, json)),
            (id, _) => skip(&format_args!("the metadata of {id:?}: not UTF-8")),
        }
    }
    let mut hidden = HashSet::new();
    for _ in 0..replies.array().await? {
        hidden.extend(replies.text().await?);
    }
    let leases = replies.number().await?;
    let position = last_position(replies).await?;

    let fields = replies.array().await? / 2;
    let mut instances = Vec::with_capacity(fields.min(RESERVED));
    for _ in 0..fields {
        let field = replies.pair(|id, url| {
            let id = str::from_utf8(id).map_err(|_| not_text("an id"))?;
            if hidden.contains(id) {
                return Ok(None);
            }
            let url = str::from_utf8(url).map_err(|_| not_text(id))?;
            layout::instance(id, url, meta.get(id).map(String::as_str)).map(Some)
        });
        match field.await? {
            Ok(instance) => instances.extend(instance),
            Err(problem) => skip(&problem),
        }
    }
    let surplus = fields as i64 - leases;
    Ok(Snapshot { instances, surplus, position })
}

/// The server's clock, from the answer to `TIME`.
pub(crate) fn millis((seconds, micros): (u64, u64)) -> u64 {
    seconds.saturating_mul(1_000).saturating_add(micros / 1_000)
}

/// Reads a reversed range of one entry.
async fn last_position(replies: &mut Replies) -> Result<String> {
    if replies.array().await? == 0 {
        return Ok(START.to_owned());
    }
    replies.array().await?;
    let position = replies.text().await?.unwrap_or_default();
    for _ in 0..replies.array().await? {
        replies.text().await?;
    }
    Ok(position)
}

fn packed(pipelines: &[&Pipeline]) -> Vec<u8> {
    pipelines.iter().flat_map(|pipeline| pipeline.get_packed_pipeline()).collect()
}

fn not_text(what: &str) -> Error {
    Error::new(ErrorKind::Data, format!("{what} of the registry is not UTF-8"))
}
