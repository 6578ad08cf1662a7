//! The statements of the driver. Each is a transaction of its own, so that a pooler may be in between.
//!
//! Nothing is prepared, for the same reason, so the server plans each statement anew. What is said often is
//! therefore a call of a function, whose plans the server keeps.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use gosd_core::{Event, Instance, InstanceId};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use crate::looks::{Answer, Question};

/// How many changes one read returns at most.
const BATCH: i64 = 500;
/// Longer than any lease, and shorter than the range of PostgreSQL's times.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The position of a watcher: an entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) seq: i64,
    at: i64,
    op: String,
    id: String,
}

/// The entries of the log after a position.
pub(crate) struct Changes {
    pub(crate) events: Vec<Read<Event>>,
    pub(crate) end: Position,
    /// How long ago the last of them was written, by the server's clock.
    pub(crate) age: Duration,
    /// Whether there may be more.
    pub(crate) is_partial: bool,
}

/// A value that was read, or why it could not be.
pub(crate) type Read<T> = Result<T, String>;

/// Writes the whole record, and restarts its lease.
pub(crate) async fn register(
    client: &Client,
    namespace: &str,
    instance: &Instance,
    ttl: Duration,
) -> Result<(), Error> {
    let lease = i64::try_from(ttl.min(LONGEST).as_micros()).unwrap_or(i64::MAX);
    let metadata = serde_json::to_string(instance.metadata()).unwrap_or_default();
    client
        .execute_typed(
            "SELECT gosd.register($1, $2, $3, $4, $5::text::jsonb, $6 * interval '1 microsecond')",
            &[
                (&namespace, Type::TEXT),
                (&instance.id().as_str(), Type::TEXT),
                (&instance.service(), Type::TEXT),
                (&instance.url(), Type::TEXT),
                (&metadata, Type::TEXT),
                (&lease, Type::INT8),
            ],
        )
        .await
        .map(drop)
}

pub(crate) async fn deregister(
    client: &Client,
    namespace: &str,
    id: &InstanceId,
) -> Result<(), Error> {
    client
        .execute_typed(
            "SELECT gosd.deregister($1, $2)",
            &[(&namespace, Type::TEXT), (&id.as_str(), Type::TEXT)],
        )
        .await
        .map(drop)
}

/// Corrects and ends leases as necessary, and reads the server's clock.
///
/// The function tolerates a difference from one time, and here the time is only known to be between two. So it
/// gets the actual time if that is between them, and otherwise the nearer one.
pub(crate) async fn look(
    client: &Client,
    namespace: &str,
    question: &Question,
) -> Result<Answer, Error> {
    let (earliest, latest) = question.expected.unzip();
    let row = client
        .query_typed_one(
            "SELECT (extract(epoch FROM coalesce(looked, at)) * 1000000)::bigint, looked IS NOT NULL
             FROM (SELECT at, CASE
                 WHEN at > timestamptz 'epoch' + $4 * interval '1 microsecond' THEN NULL
                 ELSE gosd.look($1, least(
                     greatest(at, timestamptz 'epoch' + $2 * interval '1 microsecond'),
                     timestamptz 'epoch' + $3 * interval '1 microsecond'), $5, $6)
                 END AS looked
                 FROM (SELECT clock_timestamp() AS at OFFSET 0) AS clock OFFSET 0) AS answer",
            &[
                (&namespace, Type::TEXT),
                (&earliest, Type::INT8),
                (&latest, Type::INT8),
                (&question.not_after, Type::INT8),
                (&question.troubled, Type::BOOL),
                (&question.may_purge, Type::BOOL),
            ],
        )
        .await?;
    Ok(Answer { now: row.try_get(0)?, has_looked: row.try_get(1)? })
}

/// The instances whose leases count as valid, and the end of the log at that moment.
///
/// A lease counts as expired only by the time of the last write that is known to have been possible.
pub(crate) async fn snapshot(
    client: &Client,
    namespace: &str,
) -> Result<(Vec<Read<Instance>>, Position), Error> {
    let rows = client
        .query_typed_raw(
            "(SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, op, id, '', '', ''
              FROM gosd.changes ORDER BY seq DESC LIMIT 1)
             UNION ALL
             SELECT NULL, NULL, NULL, id, service, url, metadata::text FROM gosd.instances
             WHERE namespace = $1 AND expires_at > coalesce(
                 (SELECT at FROM gosd.pulses WHERE namespace = $1), '-infinity')",
            [(namespace, Type::TEXT)],
        )
        .await?;
    let mut rows = pin!(rows);
    let (mut instances, mut end) = (Vec::new(), Position::default());
    // Row by row, while the server sends the next ones.
    while let Some(row) = rows.try_next().await? {
        match row.try_get::<_, Option<i64>>(0)? {
            Some(_) => end = position(&row)?,
            None => instances.push(instance(&row)),
        }
    }
    Ok((instances, end))
}

/// Some changes after a position; `None` if the log no longer has that entry, or has another one there.
pub(crate) async fn changes(
    client: &Client,
    namespace: &str,
    after: &Position,
) -> Result<Option<Changes>, Error> {
    let rows = client
        .query_typed(
            "SELECT * FROM gosd.read_on($1, $2, $3)",
            &[
                (&namespace, Type::TEXT),
                (&after.seq, Type::INT8),
                // The entry at the position comes first.
                (&(BATCH + 1), Type::INT8),
            ],
        )
        .await?;
    let Some((first, rows)) = rows.split_first() else { return Ok(None) };
    if position(first)? != *after {
        return Ok(None);
    }
    let mut changes = Changes {
        events: Vec::new(),
        end: after.clone(),
        age: Duration::ZERO,
        is_partial: rows.len() as i64 == BATCH,
    };
    for row in rows {
        changes.end = position(row)?;
        let age: i64 = row.try_get(8)?;
        changes.age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        if row.try_get(7)? {
            changes.events.extend(event(row).transpose());
        }
    }
    Ok(Some(changes))
}

fn position(row: &Row) -> Result<Position, Error> {
    Ok(Position {
        seq: row.try_get(0)?,
        at: row.try_get(1)?,
        op: row.try_get(2)?,
        id: row.try_get(3)?,
    })
}

fn event(row: &Row) -> Read<Option<Event>> {
    let id =
        || row.try_get::<_, String>(3).map(InstanceId::from).map_err(|error| error.to_string());
    Ok(match row.try_get(2).unwrap_or_default() {
        "put" => Some(Event::Put(instance(row)?)),
        "remove" => Some(Event::Remove(id()?)),
        "expire" => Some(Event::Expire(id()?)),
        // An operation of a later version of gosd, or the entry that begins the log.
        _ => None,
    })
}

/// Columns 3 to 6 of a row, as an instance.
pub(crate) fn instance(row: &Row) -> Read<Instance> {
    let text = |column| row.try_get::<_, &str>(column).map_err(|error| error.to_string());
    let id = text(3)?;
    let metadata = match text(6)? {
        "{}" => Default::default(),
        json => serde_json::from_str(json)
            .map_err(|error| format!("the metadata of the instance {id}: {error}"))?,
    };
    Ok(Instance::from_parts(id.to_owned().into(), text(4)?, text(5)?, metadata))
}
