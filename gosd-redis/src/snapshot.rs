use std::collections::{HashMap, HashSet};

use gosd_core::{Error, ErrorKind, Instance, Result};
use redis::Pipeline;
use redis::aio::MultiplexedConnection;

use crate::connection::{self, Connection};
use crate::driver::Redis;
use crate::replies::Replies;
use crate::{error, layout, socket};

/// The position before the first entry of a stream.
pub(crate) const START: &str = "0-0";

/// For how many instances memory is taken before they have come.
const RESERVED: usize = 100_000;

/// The registry at one instant.
pub(crate) struct Snapshot {
    /// What can be read, without what has expired.
    pub(crate) instances: Vec<Instance>,
    /// How many fields the registry has, with those that cannot be read.
    pub(crate) fields: usize,
    /// How many leases were asked for, with those that cannot be read.
    pub(crate) leases: usize,
    /// The ids of the leases that were asked for.
    pub(crate) leased: HashSet<String>,
    /// The position of the last change.
    pub(crate) position: String,
}

/// Which leases are read with the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leases {
    /// Those that are over, whose instances are then left out. The live ones would double the reply.
    Expired,
    /// All there are.
    All,
}

/// Reads the registry and the position of the last change, in one step.
///
/// On a connection of its own, so that nothing has to wait behind a long reply.
pub(crate) async fn read(
    driver: &Redis,
    connection: &Connection,
    leases: Leases,
) -> Result<Snapshot> {
    let now = server_millis(&mut connection.redis.clone()).await?;
    let (options, keys) = (&driver.options, &driver.keys);
    let greeting = connection::greeting(options);
    let mut transaction = redis::pipe();
    transaction.atomic().cmd("HGETALL").arg(&keys.meta).cmd("ZRANGEBYSCORE").arg(&keys.leases);
    match leases {
        Leases::Expired => transaction.arg("-inf").arg(now),
        Leases::All => transaction.arg("-inf").arg("+inf"),
    };
    transaction.cmd("XREVRANGE").arg(&keys.events).arg("+").arg("-").arg("COUNT").arg(1);
    transaction.cmd("HGETALL").arg(&keys.registry);

    let socket = socket::open(&connection.host, options.tls.as_ref()).await?;
    let mut replies = Replies::to(socket, &packed(&[&greeting, &transaction])).await?;
    // To the greeting, to MULTI, and to each command that it takes in.
    for _ in 0..greeting.len() + 1 + transaction.len() {
        replies.ok().await?;
    }
    if replies.array().await? != transaction.len() {
        return Err(Error::new(ErrorKind::Data, "the answer lacks a part of the registry"));
    }

    let mut meta: HashMap<String, String> = HashMap::new();
    for _ in 0..replies.array().await? / 2 {
        let (id, json) = (replies.text().await?, replies.text().await?);
        match (id, json) {
            (Some(id), Some(json)) => drop(meta.insert(id, json)),
            (id, _) => driver.skip_unreadable(&format_args!("the metadata of {id:?}: not UTF-8")),
        }
    }
    let lease_count = replies.array().await?;
    let mut leased = HashSet::new();
    for _ in 0..lease_count {
        leased.extend(replies.text().await?);
    }
    let position = last_position(&mut replies).await?;

    let fields = replies.array().await? / 2;
    let mut instances = Vec::with_capacity(fields.min(RESERVED));
    let expired = if leases == Leases::Expired { Some(&leased) } else { None };
    for _ in 0..fields {
        let field = replies.pair(|id, url| {
            let id = str::from_utf8(id).map_err(|_| not_text("an id"))?;
            if expired.is_some_and(|expired| expired.contains(id)) {
                return Ok(None);
            }
            let url = str::from_utf8(url).map_err(|_| not_text(id))?;
            layout::instance(id, url, meta.get(id).map(String::as_str)).map(Some)
        });
        match field.await? {
            Ok(instance) => instances.extend(instance),
            Err(problem) => driver.skip_unreadable(&problem),
        }
    }
    if expired.is_some_and(|expired| !expired.is_empty()) {
        // It does nothing if somebody has just done it; but it fails if nobody can renew a lease.
        let purge = driver.scripts.purge(&mut connection.redis.clone(), keys).await;
        error::unless_refused(purge)?;
    }
    Ok(Snapshot { instances, fields, leases: lease_count, leased, position })
}

/// The server's clock.
async fn server_millis(redis: &mut MultiplexedConnection) -> Result<u64> {
    let time = redis::cmd("TIME").query_async(redis).await;
    time.map(millis).map_err(|error| error::from_redis(&error))
}

/// The server's clock, from the answer to `TIME`.
pub(crate) fn millis((seconds, micros): (u64, u64)) -> u64 {
    seconds * 1_000 + micros / 1_000
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
