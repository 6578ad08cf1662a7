//! Detects a damaged database, and moves it aside so that all instances can register again.
//!
//! The registry is a list of leases, which the living renew: what a damaged file still holds is
//! worth less than a registry that works. Only a file that is gosd's own is moved, and only if it is
//! still damaged when nobody writes to it. It is kept beside the new one for inspection.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, ffi};
use tracing::warn;

use crate::connection;
use crate::file::{self, Identity, beside};
use crate::layout::{APPLICATION_ID, Judged};

/// The offset of the application id in the header of a database.
const HEADER_ID: usize = 68;

/// Whether an error means that the file is no intact database.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The error for damage that was found without an error of SQLite.
pub(crate) fn damage() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), None)
}

/// A file that may be damaged.
pub(crate) struct Doubt {
    pub(crate) file: Identity,
    pub(crate) since: Instant,
    /// Kept open, because closing it would release the locks of all others in this process that have the file
    /// open.
    held: File,
}

impl Doubt {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let held = file::open_to_look(path)?;
        Ok(Self { file: Identity::of_open(&held)?, since: Instant::now(), held })
    }

    /// Whether the file, damaged or not, is a database of gosd.
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
        // Rows of unusual types, which plain clients may write, are no damage.
        found |= says != "ok" && !says.contains(" value in ");
        Ok(())
    };
    match table {
        Some(table) => db.pragma(None, "integrity_check", table, note)?,
        None => db.pragma_query(None, "integrity_check", note)?,
    }
    if found { Err(damage()) } else { Ok(()) }
}

/// Moves the file aside if the path still leads to it and it is damaged.
pub(crate) fn set_aside(path: &Path, doubt: Doubt) -> Result<(), Judged> {
    let Doubt { file, held, .. } = doubt;
    let real = file::resolve(path).map_err(|error| Judged::from_io(path, error))?;
    // Other processes find the damage at the same time, and one of them moves the file.
    let is_held = held.try_lock().is_ok();
    if !is_held || Identity::of(path).ok().flatten() != Some(file) {
        return Ok(());
    }
    let db = connection::open_as_it_is(&real)?;
    // Nobody writes to the file meanwhile, and no journal is left that the next file would adopt.
    let found = db.execute_batch("BEGIN EXCLUSIVE").and_then(|()| look(&db, None));
    let set_aside = match found {
        Ok(()) => Ok(()),
        Err(error) if is_damage(&error) => rename(&real),
        Err(error) => return Err(error.into()),
    };
    // No other process can hold a lock of the file at this point.
    drop(held);
    set_aside.map_err(|error| Judged::from_io(path, error))
}

fn rename(database: &Path) -> io::Result<()> {
    let aside = beside(database, "-damaged");
    // First the files beside it, which SQLite would otherwise apply to the next file.
    for suffix in ["-journal", "-wal", "-shm"] {
        let _ = fs::rename(beside(database, suffix), beside(&aside, suffix));
    }
    fs::rename(database, &aside)?;
    let (path, aside) = (database.display(), aside.display());
    warn!(%path, %aside, "the database was damaged, and is set aside: all instances register again");
    Ok(())
}
