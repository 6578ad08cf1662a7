//! A damaged database: found out, and moved aside so that everybody can register anew.
//!
//! The registry is a list of leases, which the living renew: what a damaged file still holds is
//! worth less than a registry that works. Only a file that is gosd's own is moved, and only if it
//! is damaged still when nobody writes to it; it is kept beside the new one, for who wants to know.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, ffi};
use tracing::warn;

use crate::connection;
use crate::file::{self, Identity, beside};
use crate::layout::{APPLICATION_ID, Judged};

/// Where the header of a database holds the application id.
const HEADER_ID: usize = 68;

/// Whether an error says that the file does not hold a sound database.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The error for damage that is found without one.
pub(crate) fn damage() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), None)
}

/// A file that may be damaged.
pub(crate) struct Doubt {
    pub(crate) file: Identity,
    pub(crate) since: Instant,
    /// Kept open: closing it ends the locks of all who have the file open in this process.
    held: File,
}

impl Doubt {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let held = file::open_to_look(path)?;
        Ok(Self { file: Identity::of_open(&held)?, since: Instant::now(), held })
    }

    /// Whether the file, sound or not, is a database of gosd.
    pub(crate) fn is_ours(&self) -> bool {
        let mut header = [0; HEADER_ID + 4];
        let mut file = &self.held;
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_exact(&mut header));
        read.is_ok() && header[HEADER_ID..] == APPLICATION_ID.to_be_bytes()
    }
}

/// Looks for damage in a table and its indexes, or else in the whole database.
pub(crate) fn look(db: &Connection, table: Option<&str>) -> rusqlite::Result<()> {
    let mut found = false;
    let note = |row: &rusqlite::Row<'_>| {
        let says: String = row.get(0)?;
        // Rows of odd types, which plain clients may write, are no damage.
        found |= says != "ok" && !says.contains(" value in ");
        Ok(())
    };
    match table {
        Some(table) => db.pragma(None, "integrity_check", table, note)?,
        None => db.pragma_query(None, "integrity_check", note)?,
    }
    if found { Err(damage()) } else { Ok(()) }
}

/// Moves the file aside if it stands there still, and is damaged.
pub(crate) fn set_aside(path: &Path, doubt: Doubt) -> Result<(), Judged> {
    let Doubt { file, held, .. } = doubt;
    let real = file::resolve(path).map_err(|error| Judged::from_io(path, error))?;
    // Others come to the same conclusion at the same time: one of them does it.
    let is_held = held.try_lock().is_ok();
    if !is_held || Identity::of(path).ok().flatten() != Some(file) {
        return Ok(());
    }
    let db = connection::open_as_it_is(&real)?;
    // Nobody writes to it meanwhile, and nobody's journal is left for the next file to take.
    let found = db.execute_batch("BEGIN EXCLUSIVE").and_then(|()| look(&db, None));
    let set_aside = match found {
        Ok(()) => Ok(()),
        Err(error) if is_damage(&error) => rename(&real),
        Err(error) => return Err(error.into()),
    };
    // While nobody else can have a lock of it.
    drop(held);
    set_aside.map_err(|error| Judged::from_io(path, error))
}

fn rename(database: &Path) -> io::Result<()> {
    let aside = beside(database, "-damaged");
    // First what may lie beside it, which the next file would take for its own.
    for suffix in ["-journal", "-wal", "-shm"] {
        let _ = fs::rename(beside(database, suffix), beside(&aside, suffix));
    }
    fs::rename(database, &aside)?;
    let (path, aside) = (database.display(), aside.display());
    warn!(%path, %aside, "the database was damaged, and is set aside: all register anew");
    Ok(())
}
