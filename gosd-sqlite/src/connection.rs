//! The connection: opened when it is needed, and again when the path leads to another file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::damage::{self, Doubt};
use crate::error::from_sqlite;
use crate::file::{self, Identity, beside};
use crate::layout::{self, Judged, Owner};

/// How long a call waits for a locked database: less than core waits for a heartbeat of the default lease.
pub(crate) const BUSY: Duration = Duration::from_millis(2500);
/// How long a file that looks damaged, or is suddenly empty, may still be in the middle of being overwritten
/// by somebody who copies a backup over it.
const SETTLES: Duration = Duration::from_secs(1);

/// The file at a path, whichever it is now.
pub(crate) struct Database {
    path: PathBuf,
    open: Option<Connection>,
    /// The identity of the file that was opened last, and how many others were opened before it.
    identity: Option<Identity>,
    generation: u64,
    /// A file that may be damaged, and when that was first seen.
    doubt: Option<Doubt>,
}

impl Database {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: None, identity: None, generation: 0, doubt: None }
    }

    /// A number that changes when the path leads to another file.
    pub(crate) fn generation(&mut self) -> Result<u64> {
        self.open()?;
        Ok(self.generation)
    }

    /// Works with the file that the path leads to now; creates one if there is none.
    ///
    /// After a failure the connection is opened again, because its file may be gone.
    pub(crate) fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let result = work(self.open()?);
        result.map_err(|error| {
            self.open = None;
            self.judge(error)
        })
    }

    fn open(&mut self) -> Result<&mut Connection> {
        let there = identity(&self.path);
        // SQLite would wait for ever for somebody to write to a pipe. It would also use a write-ahead log
        // that lies there, with the shared memory that `use_journal` avoids.
        let journal = beside(&self.path, "-journal");
        if file::is_odd(&journal) {
            self.open = None;
            let message = format!("{}: it is no plain file: remove it", journal.display());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        if there.is_none() || there != self.identity || beside(&self.path, "-wal").exists() {
            self.open = None;
        }
        if self.open.is_none() {
            let has_settled = self.settle(there)?;
            let there = identity(&self.path);
            let (db, file) = self.prepared(there, has_settled)?;
            if self.identity.is_some_and(|before| before != file) {
                self.generation += 1;
            }
            self.identity = Some(file);
            self.open = Some(db);
        }
        Ok(self.open.as_mut().expect("it is open by now"))
    }

    fn prepared(
        &mut self,
        there: Option<Identity>,
        has_settled: bool,
    ) -> Result<(Connection, Identity)> {
        let is_known = there.is_some() && there == self.identity;
        let mut db = open(&self.path).map_err(|judged| self.explain(judged))?;
        let opened = identity(&self.path);
        let owner = prepare(&mut db, !is_known).map_err(|judged| self.explain(judged))?;
        if owner == Owner::Nobody {
            // The file has just been emptied, or somebody is about to fill it.
            if is_known && !has_settled {
                return Err(self.doubted());
            }
            layout::create(&mut db).map_err(|judged| self.explain(judged))?;
        }
        // All this may have waited for other processes, and the path may lead to another file by now.
        match identity(&self.path) {
            Some(file) if opened == Some(file) && there.is_none_or(|there| there == file) => {
                Ok((db, file))
            }
            _ => {
                let message = format!("{}: the file was moved or replaced", self.path.display());
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Waits while a file is in doubt; if it is still damaged then, moves it aside.
    ///
    /// Returns whether a file was in doubt and the path now leads to one that may be used.
    fn settle(&mut self, there: Option<Identity>) -> Result<bool> {
        let is_over =
            |doubt: &mut Doubt| there != Some(doubt.file) || doubt.since.elapsed() >= SETTLES;
        match self.doubt.take_if(is_over) {
            Some(doubt) => {
                damage::set_aside(&self.path, doubt).map_err(|judged| self.explain(judged))?;
                Ok(true)
            }
            None if self.doubt.is_some() => Err(self.doubted()),
            None => Ok(false),
        }
    }

    fn explain(&mut self, judged: Judged) -> Error {
        match judged {
            Judged::Failed(error) => self.judge(error),
            Judged::NoFile(error) => error,
            Judged::Refused(error) => {
                Error::new(error.kind(), format!("{}: {error}", self.path.display()))
            }
        }
    }

    fn judge(&mut self, error: rusqlite::Error) -> Error {
        if !damage::is_damage(&error) {
            return from_sqlite(error, &self.path);
        }
        let is_known = self.identity.is_some() && self.identity == identity(&self.path);
        if self.doubt.is_none() {
            self.doubt = Doubt::of(&self.path).ok().filter(|doubt| is_known || doubt.is_ours());
        }
        match self.doubt {
            Some(_) => self.doubted().caused_by(error),
            // The file may belong to another program.
            None => from_sqlite(error, &self.path),
        }
    }

    /// Records that the file may be damaged.
    fn doubted(&mut self) -> Error {
        if self.doubt.is_none() {
            self.doubt = Doubt::of(&self.path).ok();
        }
        let (path, aside) = (self.path.display(), beside(&self.path, "-damaged"));
        let aside = aside.display();
        let message = format!(
            "{path}: the database is damaged, or is being restored: unless it is sound in a second, \
             it is moved to {aside}, and all instances register again"
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

fn identity(path: &Path) -> Option<Identity> {
    Identity::of(path).ok().flatten()
}

fn open(path: &Path) -> Result<Connection, Judged> {
    let real = file::resolve(path).map_err(|error| Judged::from_io(path, error))?;
    match real.metadata() {
        Ok(there) if there.is_dir() => {
            Err(Judged::Refused(Error::new(ErrorKind::Data, "it is a folder: name a file in it")))
        }
        Ok(there) if !there.is_file() => {
            Err(Judged::Refused(Error::new(ErrorKind::Data, "it is no file: choose another path")))
        }
        Ok(_) => open_as_it_is(&real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(&real).map_err(|error| Judged::from_io(path, error))?
        }
        Err(error) => Err(Judged::from_io(path, error)),
    }
}

/// Opens an existing database. A path that has become a link meanwhile is refused.
pub(crate) fn open_as_it_is(real: &Path) -> Result<Connection, Judged> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(real, flags)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

/// Creates an empty database, with the permissions that the umask leaves.
///
/// SQLite itself gives the group no right to write. Nevertheless SQLite has to create the file, because
/// closing it here would release the locks of others in this process that have opened it already.
fn make(real: &Path) -> io::Result<Result<Connection, Judged>> {
    let sample = file::make_sample(real)?;
    let encode = |path: &Path| {
        percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC).to_string()
    };
    let uri = format!("file:{}?modeof={}", encode(real), encode(&sample));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(uri, flags);
    // The file exists once it has been opened, and a user who may create files here may remove them.
    let _ = fs::remove_file(sample);
    Ok(db.and_then(|db| db.busy_timeout(BUSY).map(|()| db)).map_err(Judged::from))
}

/// Checks that the file is gosd's, and sets the connection up for it.
fn prepare(db: &mut Connection, is_new_here: bool) -> Result<Owner, Judged> {
    // When a foreign file is closed, its owner's log must not be written back to it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // In a transaction, so that a file being created is seen before or after, and not in between.
    let transaction = db.transaction()?;
    let owner = layout::owner(&transaction)?;
    if owner == Owner::Gosd && is_new_here {
        // A loss of power may have left damage; see `use_journal`.
        damage::look(&transaction, Some("instances"))?;
    }
    drop(transaction);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    if !db.is_readonly("main")? {
        use_journal(db)?;
    }
    Ok(owner)
}

/// Has changes written by way of a rollback journal, without waiting for the disk.
///
/// A write-ahead log would share memory by a file beside the database, and whoever cuts that file
/// short ends every process that uses it. Nothing is lost by not waiting: when the power fails, so
/// do all processes of the host, whose leases these are; a file that is damaged then is noticed.
fn use_journal(db: &Connection) -> Result<(), Judged> {
    db.pragma_update(None, "mmap_size", 0)?;
    // This fails while others have the file open in another mode; until they close it, that mode is used.
    db.busy_timeout(Duration::ZERO)?;
    let switched = db.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()));
    db.busy_timeout(BUSY)?;
    match switched {
        Err(error) if !is_busy(&error) => return Err(error.into()),
        _ => {}
    }
    db.pragma_update(None, "synchronous", "OFF")?;
    Ok(())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}
