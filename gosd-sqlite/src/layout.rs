//! What stands in the database, and the statements on it.

use std::time::Duration;

use gosd_core::{Error, ErrorKind, Event, Instance, InstanceId, Result};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tracing::warn;

use crate::clock::TOLERANCE;
use crate::connection::BUSY;

/// `gosd` in ASCII: tells the file from other programs' databases.
const APPLICATION_ID: i32 = 0x676f_7364;
const VERSION: i32 = 1;
const LAYOUT: &str = include_str!("layout.sql");

/// How many changes stay in the log: how far a watcher may be behind before it starts anew.
const LOG: i64 = 10_000;
/// How many expired instances one transaction removes, and how many changes one read takes.
const BATCH: i64 = 500;
/// How long a removal waits for other writers: longer than they take, unless one is stuck.
const OTHERS: Duration = Duration::from_millis(300);

type Sql<T> = rusqlite::Result<T>;

/// An entry of the log, by which a watcher resumes; the default stands for an empty log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    seq: i64,
    at: i64,
    op: Vec<u8>,
    id: Vec<u8>,
}

/// What stands in the log from a position on.
pub(crate) struct Changes {
    pub(crate) events: Vec<Event>,
    pub(crate) end: Position,
    /// There may be more.
    pub(crate) is_partial: bool,
}

/// Who the file belongs to.
#[derive(PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Gosd,
}

/// Judges the file before anything is written to it.
pub(crate) fn owner(db: &Connection) -> Result<Owner, Judged> {
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (APPLICATION_ID, VERSION) => Ok(Owner::Gosd),
        (APPLICATION_ID, newer) => Err(Judged::Refused(Error::new(
            ErrorKind::Unsupported,
            format!("its layout has version {newer}, and this gosd knows {VERSION}: update gosd"),
        ))),
        (0, 0) if tables == 0 => Ok(Owner::Nobody),
        _ => Err(Judged::Refused(Error::new(
            ErrorKind::Data,
            "it is another program's database: choose another path",
        ))),
    }
}

/// Why a file is not used.
pub(crate) enum Judged {
    Failed(rusqlite::Error),
    Refused(Error),
}

impl From<rusqlite::Error> for Judged {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// Makes the layout, unless another process has been faster.
pub(crate) fn create(db: &mut Connection) -> Result<(), Judged> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if owner(&transaction)? == Owner::Nobody {
        transaction.execute_batch(LAYOUT)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Returns how many rows were written, without what the triggers wrote.
pub(crate) fn upsert(
    db: &Connection,
    namespace: &str,
    instance: &Instance,
    now: i64,
    ttl: Duration,
) -> Sql<usize> {
    let lease = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2);
    let metadata = serde_json::to_string(instance.metadata()).expect("strings always serialize");
    db.prepare_cached(
        "INSERT INTO instances (namespace, id, service, url, metadata, expires_at, lease_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET service = excluded.service, url = excluded.url,
             metadata = excluded.metadata, expires_at = excluded.expires_at,
             lease_ms = excluded.lease_ms",
    )?
    .execute(params![
        namespace,
        instance.id().as_str(),
        instance.service(),
        instance.url(),
        metadata,
        now + lease,
        lease
    ])
}

/// As [`upsert`].
pub(crate) fn delete(db: &Connection, namespace: &str, id: &InstanceId) -> Sql<usize> {
    db.prepare_cached("DELETE FROM instances WHERE namespace = ?1 AND id = ?2")?
        .execute(params![namespace, id.as_str()])
}

/// The instances whose lease runs after `now`; what cannot be read is skipped with a warning.
pub(crate) fn live(db: &Connection, namespace: &str, now: i64) -> Sql<Vec<Instance>> {
    let mut statement = db.prepare_cached(
        "SELECT id, service, url, metadata FROM instances WHERE namespace = ?1 AND expires_at > ?2",
    )?;
    let mut rows = statement.query(params![namespace, now])?;
    let mut instances = Vec::new();
    while let Some(row) = rows.next()? {
        instances.extend(readable(row));
    }
    Ok(instances)
}

/// Where a watcher begins to follow.
pub(crate) fn end_of_log(db: &Connection) -> Sql<Position> {
    db.prepare_cached("SELECT seq, at, op, id FROM changes ORDER BY seq DESC LIMIT 1")?
        .query_row([], position)
        .optional()
        .map(Option::unwrap_or_default)
}

/// Some changes after a position; `None` if the entry at it is no longer there, or is another.
pub(crate) fn changes(db: &Connection, namespace: &str, after: &Position) -> Sql<Option<Changes>> {
    let mut statement = db.prepare_cached(
        "SELECT seq, at, op, id, namespace = ?2, service, url, metadata FROM changes
         WHERE seq >= ?1 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![after.seq, namespace, BATCH])?;
    let found = rows.next()?.map(position).transpose()?.unwrap_or_default();
    if found != *after {
        return Ok(None);
    }
    let mut changes = Changes { events: Vec::new(), end: after.clone(), is_partial: false };
    let mut read = 1;
    while let Some(row) = rows.next()? {
        read += 1;
        changes.end = position(row)?;
        if row.get(4)? {
            changes.events.extend(event(row));
        }
    }
    changes.is_partial = read == BATCH;
    Ok(Some(changes))
}

/// Removes some of the instances whose lease ran out by `now`, and what is old in the log.
///
/// Leases that end later than they can are cut: the clock that they were written by ran ahead.
/// Returns whether anything was done.
pub(crate) fn purge(db: &Connection, namespace: &str, now: i64) -> Sql<bool> {
    // Others may have renewed after `now` was read.
    let ahead = now + i64::try_from(TOLERANCE.as_millis()).unwrap_or_default();
    let due = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM instances WHERE namespace = ?1 AND expires_at <= ?2)
                 OR (SELECT expires_at > ?3 + lease_ms FROM instances
                     WHERE namespace = ?1 AND lease_ms IS NOT NULL
                     ORDER BY expires_at DESC LIMIT 1)
                 OR (SELECT max(seq) FROM changes) - (SELECT min(seq) FROM changes) >= 2 * ?4",
        )?
        .query_row(params![namespace, now, ahead, LOG], |row| row.get(0))
        .map(|due: Option<bool>| due == Some(true))?;
    if !due {
        return Ok(false);
    }
    // Looked at again in the transaction: what had expired may have been renewed meanwhile.
    db.busy_timeout(OTHERS)?;
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate);
    db.busy_timeout(BUSY)?;
    let transaction = transaction?;
    transaction
        .prepare_cached(
            "DELETE FROM instances WHERE namespace = ?1 AND id IN (
                 SELECT id FROM instances WHERE namespace = ?1 AND expires_at <= ?2 LIMIT ?3)",
        )?
        .execute(params![namespace, now, BATCH])?;
    transaction
        .prepare_cached(
            "UPDATE instances SET expires_at = ?2 + lease_ms
             WHERE namespace = ?1 AND expires_at > ?3 + lease_ms",
        )?
        .execute(params![namespace, now, ahead])?;
    transaction
        .prepare_cached("DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ?1")?
        .execute([LOG])?;
    transaction.commit()?;
    Ok(true)
}

/// The longest lease in use.
pub(crate) fn longest_lease(db: &Connection, namespace: &str) -> Sql<Duration> {
    let ms: Option<i64> = db
        .prepare_cached("SELECT max(lease_ms) FROM instances WHERE namespace = ?1")?
        .query_row([namespace], |row| row.get(0))?;
    Ok(Duration::from_millis(ms.and_then(|ms| ms.try_into().ok()).unwrap_or_default()))
}

fn position(row: &Row<'_>) -> Sql<Position> {
    let bytes = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes()?.to_vec());
    Ok(Position { seq: row.get(0)?, at: row.get(1)?, op: bytes(2)?, id: bytes(3)? })
}

fn event(row: &Row<'_>) -> Option<Event> {
    let id = readable_id(row, 3)?;
    match row.get_ref(2).and_then(|op| Ok(op.as_str()?)).unwrap_or_default() {
        "put" => {
            let columns = (|| Ok((row.get(5)?, row.get(6)?, row.get(7)?)))();
            instance(&id, columns).map(Event::Put)
        }
        "remove" => Some(Event::Remove(id)),
        "expire" => Some(Event::Expire(id)),
        // Of a later version of gosd.
        _ => None,
    }
}

fn readable(row: &Row<'_>) -> Option<Instance> {
    let id = readable_id(row, 0)?;
    let columns = (|| Ok((row.get(1)?, row.get(2)?, row.get(3)?)))();
    instance(&id, columns)
}

fn readable_id(row: &Row<'_>, column: usize) -> Option<InstanceId> {
    let id: Sql<String> = row.get(column);
    id.inspect_err(|error| warn!(%error, "an instance whose id cannot be read is skipped"))
        .ok()
        .map(InstanceId::from)
}

fn instance(id: &InstanceId, columns: Sql<(String, String, String)>) -> Option<Instance> {
    let read = columns.map_err(|error| error.to_string()).and_then(|(service, url, metadata)| {
        let metadata = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
        Ok(Instance::from_parts(id.clone(), &service, &url, metadata))
    });
    read.inspect_err(|error| warn!(%id, error, "an instance that cannot be read is skipped")).ok()
}
