//! The tables of the database, and the statements on them.

use std::io;
use std::path::Path;
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Event, Instance, InstanceId, Result};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::clock::TOLERANCE;
use crate::connection::BUSY;
use crate::error::from_io;

/// `gosd` in ASCII, by which the file differs from other programs' databases.
pub(crate) const APPLICATION_ID: i32 = 0x676f_7364;
const VERSION: i32 = 1;
const LAYOUT: &str = include_str!("layout.sql");

/// How many changes stay in the log, so how far a watcher may be behind before it begins again.
const LOG: i64 = 10_000;
/// How many expired instances one transaction removes, and how many changes one read takes.
const BATCH: i64 = 500;
/// How long a removal waits for other writers: longer than they take, unless one is stuck.
const OTHERS: Duration = Duration::from_millis(300);

type Sql<T> = rusqlite::Result<T>;

/// The position of a watcher: an entry of the log. The default stands for an empty log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    seq: i64,
    at: i64,
    op: Vec<u8>,
    id: Vec<u8>,
}

/// The entries of the log after a position.
pub(crate) struct Changes {
    pub(crate) events: Vec<Read<Event>>,
    pub(crate) end: Position,
    /// Whether there may be more.
    pub(crate) is_partial: bool,
}

/// Which program the file belongs to.
#[derive(PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Gosd,
}

/// Checks that the file is gosd's, before anything is written to it.
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
    /// It cannot be opened; the error names it.
    NoFile(Error),
    /// The file is not for this version of gosd; the error does not name it.
    Refused(Error),
}

impl Judged {
    pub(crate) fn from_io(path: &Path, error: io::Error) -> Self {
        Self::NoFile(from_io(error, path))
    }
}

impl From<rusqlite::Error> for Judged {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// Creates the tables, unless another process has done so.
pub(crate) fn create(db: &mut Connection) -> Result<(), Judged> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if owner(&transaction)? == Owner::Nobody {
        transaction.execute_batch(LAYOUT)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Returns the number of rows written, except those that the triggers wrote.
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

/// The instances whose lease runs after `now`.
pub(crate) fn live(db: &Connection, namespace: &str, now: i64) -> Sql<Vec<Read<Instance>>> {
    let mut statement = db.prepare_cached(
        "SELECT id, service, url, metadata FROM instances WHERE namespace = ?1 AND expires_at > ?2",
    )?;
    let mut rows = statement.query(params![namespace, now])?;
    let mut instances = Vec::new();
    while let Some(row) = rows.next()? {
        instances.push(readable_id(row, 0).and_then(|id| instance(id, row, [1, 2, 3])));
    }
    Ok(instances)
}

/// The position where a watcher begins.
pub(crate) fn end_of_log(db: &Connection) -> Sql<Position> {
    db.prepare_cached("SELECT seq, at, op, id FROM changes ORDER BY seq DESC LIMIT 1")?
        .query_row([], position)
        .optional()
        .map(Option::unwrap_or_default)
}

/// Some changes after a position; `None` if the log no longer has that entry, or has another one there.
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
            changes.events.extend(event(row).transpose());
        }
    }
    changes.is_partial = read == BATCH;
    Ok(Some(changes))
}

/// Whether [`purge`] has something to do.
pub(crate) fn is_due(db: &Connection, namespace: &str, now: i64) -> Sql<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM instances WHERE namespace = ?1 AND expires_at <= ?2)
             OR (SELECT expires_at > ?3 + lease_ms FROM instances
                 WHERE namespace = ?1 AND lease_ms IS NOT NULL
                 ORDER BY expires_at DESC LIMIT 1)
             OR (SELECT max(seq) FROM changes) - (SELECT min(seq) FROM changes) >= 2 * ?4",
    )?
    .query_row(params![namespace, now, ahead(now), LOG], |row| row.get(0))
    .map(|due: Option<bool>| due == Some(true))
}

/// Removes some of the instances whose lease ran out by `now`, and old entries of the log.
///
/// A lease that ends later than any lease can is shortened: it was written while the clock was ahead.
pub(crate) fn purge(db: &Connection, namespace: &str, now: i64) -> Sql<()> {
    // Checked once more inside the transaction, because an expired instance may have been renewed meanwhile.
    let transaction = begin(db)?;
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
        .execute(params![namespace, now, ahead(now)])?;
    transaction
        .prepare_cached("DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ?1")?
        .execute([LOG])?;
    transaction.commit()
}

/// Gives a whole lease to every instance that would have one if nobody had set the clock.
/// An instance that has renewed since then has one already.
pub(crate) fn restart(db: &Connection, namespace: &str, set_from: i64, now: i64) -> Sql<()> {
    let transaction = begin(db)?;
    transaction
        .prepare_cached(
            "UPDATE instances SET expires_at = ?3 + lease_ms
             WHERE namespace = ?1 AND expires_at > ?2 AND expires_at - lease_ms <= ?2",
        )?
        .execute(params![namespace, set_from, now])?;
    transaction.commit()
}

/// Gives at least half a lease to every instance that had one when writes last succeeded.
pub(crate) fn extend(db: &Connection, namespace: &str, taken_at: i64, now: i64) -> Sql<()> {
    let transaction = begin(db)?;
    transaction
        .prepare_cached(
            "UPDATE instances SET expires_at = ?3 + lease_ms / 2
             WHERE namespace = ?1 AND expires_at > ?2 AND expires_at < ?3 + lease_ms / 2",
        )?
        .execute(params![namespace, taken_at, now])?;
    transaction.commit()
}

/// Tries whether an instance could be registered, and rolls the attempt back.
///
/// The pages that an insert changes go to the journal before they are changed, so that this fails
/// on a full disk, too.
pub(crate) fn probe(db: &Connection, namespace: &str, now: i64) -> Sql<()> {
    let transaction = begin(db)?;
    transaction
        .prepare_cached(
            "INSERT INTO instances (namespace, id, service, url, expires_at)
             VALUES (?1, hex(randomblob(16)), '', '', ?2)",
        )?
        .execute(params![namespace, now])?;
    transaction.rollback()
}

/// When a lease was last renewed, as far as the table shows, in ms since 1970.
pub(crate) fn last_renewal(db: &Connection, namespace: &str) -> Sql<i64> {
    let sql =
        "SELECT CAST(max(expires_at - lease_ms) AS INTEGER) FROM instances WHERE namespace = ?1";
    let at: Option<i64> = db.prepare_cached(sql)?.query_row([namespace], |row| row.get(0))?;
    Ok(at.unwrap_or(i64::MIN))
}

/// Changes when another connection has written to the file.
pub(crate) fn data_version(db: &Connection) -> Sql<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Begins a write that no caller has asked for, and so does not wait long for the lock.
fn begin(db: &Connection) -> Sql<Transaction<'_>> {
    db.busy_timeout(OTHERS)?;
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate);
    db.busy_timeout(BUSY)?;
    transaction
}

/// The time a moment after `now`, since others may have renewed after `now` was read.
fn ahead(now: i64) -> i64 {
    now + i64::try_from(TOLERANCE.as_millis()).unwrap_or_default()
}

fn position(row: &Row<'_>) -> Sql<Position> {
    let bytes = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes()?.to_vec());
    Ok(Position { seq: row.get(0)?, at: row.get(1)?, op: bytes(2)?, id: bytes(3)? })
}

/// A value that was read, or why it could not be.
pub(crate) type Read<T> = Result<T, String>;

fn event(row: &Row<'_>) -> Read<Option<Event>> {
    let id = readable_id(row, 3)?;
    Ok(match row.get_ref(2).and_then(|op| Ok(op.as_str()?)).unwrap_or_default() {
        "put" => Some(Event::Put(instance(id, row, [5, 6, 7])?)),
        "remove" => Some(Event::Remove(id)),
        "expire" => Some(Event::Expire(id)),
        // An operation of a later version of gosd.
        _ => None,
    })
}

pub(crate) fn readable_id(row: &Row<'_>, column: usize) -> Read<InstanceId> {
    let id: Sql<String> = row.get(column);
    id.map(InstanceId::from).map_err(|error| format!("an instance without a readable id: {error}"))
}

pub(crate) fn instance(id: InstanceId, row: &Row<'_>, columns: [usize; 3]) -> Read<Instance> {
    let read = || {
        let [service, url, metadata]: [String; 3] = match columns.map(|column| row.get(column)) {
            [Ok(service), Ok(url), Ok(metadata)] => [service, url, metadata],
            [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => {
                return Err(error.to_string());
            }
        };
        let metadata = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
        Ok((service, url, metadata))
    };
    let (service, url, metadata) =
        read().map_err(|error: String| format!("the instance {id}: {error}"))?;
    Ok(Instance::from_parts(id, &service, &url, metadata))
}
