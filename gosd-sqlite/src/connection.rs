//! The connection: opened when it is needed, and anew when another file stands at the path.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use gosd_core::{Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{NO_WAL, from_sqlite};
use crate::file::Identity;
use crate::layout::{self, Judged, Owner};

/// How long a locked database is waited for: less than core waits for a call.
pub(crate) const BUSY: Duration = Duration::from_secs(4);

/// The file at a path, whichever it is now.
pub(crate) struct Database {
    path: PathBuf,
    open: Option<Connection>,
    /// The file that was opened last, and how many others before it.
    identity: Option<Identity>,
    generation: u64,
}

impl Database {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: None, identity: None, generation: 0 }
    }

    /// Changes when another file has come to stand at the path.
    pub(crate) fn generation(&mut self) -> Result<u64> {
        self.open()?;
        Ok(self.generation)
    }

    /// Works with the file that stands at the path now; makes one if there is none.
    ///
    /// After a failure the connection is made anew, since it may be to a file that is gone.
    pub(crate) fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let result = work(self.open()?);
        result.map_err(|error| {
            self.open = None;
            from_sqlite(error, &self.path)
        })
    }

    fn open(&mut self) -> Result<&mut Connection> {
        let there = Identity::of(&self.path).ok().flatten();
        if there.is_none() || there != self.identity {
            self.open = None;
        }
        if self.open.is_none() {
            let db = open(&self.path).map_err(|judged| match judged {
                Judged::Failed(error) => from_sqlite(error, &self.path),
                Judged::Refused(error) => {
                    Error::new(error.kind(), format!("{}: {error}", self.path.display()))
                }
            })?;
            let identity = Identity::of(&self.path).ok().flatten();
            if self.identity.is_some() && identity != self.identity {
                self.generation += 1;
            }
            self.identity = identity;
            self.open = Some(db);
        }
        Ok(self.open.as_mut().expect("it is open by now"))
    }
}

fn open(path: &Path) -> Result<Connection, Judged> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    prepare(&mut db)?;
    Ok(db)
}

fn prepare(db: &mut Connection) -> Result<(), Judged> {
    db.busy_timeout(BUSY)?;
    // Closing a file that is not ours must not write to it what its owner left in the log.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // In a transaction, so that a file in the making is seen before or after, and not in between.
    let owner = layout::owner(&*db.transaction()?)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    write_ahead(db)?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    if owner == Owner::Nobody {
        layout::create(db)?;
    }
    Ok(())
}

/// Switches to the write-ahead log, with which readers and the writer do not wait for each other.
fn write_ahead(db: &Connection) -> Result<(), Judged> {
    let give_up = Instant::now() + BUSY;
    let mode: String = loop {
        match db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)) {
            // SQLite does not wait by itself here, when many open a new file at once.
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < give_up =>
            {
                thread::park_timeout(Duration::from_millis(5));
            }
            mode => break mode?,
        }
    };
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(Judged::Refused(Error::new(ErrorKind::Unsupported, NO_WAL)))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_shared_memory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gosd.db");
        // Locks by files, as network file systems make one do, and has no shared memory.
        let vfs = c"unix-dotfile";
        let mut db = Connection::open_with_flags_and_vfs(&path, OpenFlags::default(), vfs).unwrap();
        let Err(Judged::Refused(error)) = prepare(&mut db) else { panic!("it is refused") };
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.to_string(), NO_WAL);
        assert_eq!(path.metadata().unwrap().len(), 0);
    }
}
