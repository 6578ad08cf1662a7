//! The errors of SQLite, mapped to kinds of gosd's errors.

use std::fs::File;
use std::io;
use std::path::Path;

use gosd_core::{Error, ErrorKind};
use rusqlite::{ErrorCode, ffi};

use crate::file::whose;

const FULL: &str = "the disk is full: make room";

/// Maps an error of SQLite about the database at this path.
pub(crate) fn from_sqlite(error: rusqlite::Error, path: &Path) -> Error {
    let (kind, what) = judge(&error, path);
    Error::new(kind, format!("{}: {what}", path.display())).caused_by(error)
}

fn judge(error: &rusqlite::Error, path: &Path) -> (ErrorKind, String) {
    let Some(code) = error.sqlite_error_code() else {
        return (ErrorKind::Data, "it does not hold what gosd wrote".into());
    };
    let (kind, what) = match code {
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            return (ErrorKind::Denied, format!("permission denied: {}", whose(path)));
        }
        ErrorCode::ReadOnly if extended(error) != ffi::SQLITE_READONLY_DBMOVED => {
            return (ErrorKind::Denied, format!("it cannot be written to: {}", whose(path)));
        }
        ErrorCode::CannotOpen => {
            let error = cannot_open(path);
            return (error.kind(), error.to_string());
        }
        ErrorCode::ReadOnly => (ErrorKind::Unavailable, "the file was moved or removed"),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Unavailable, "another process keeps the database locked")
        }
        ErrorCode::DiskFull => (ErrorKind::Unavailable, FULL),
        ErrorCode::NotADatabase => {
            (ErrorKind::Data, "it is no database: choose another path, or move the file away")
        }
        ErrorCode::DatabaseCorrupt => (
            ErrorKind::Data,
            "the database is damaged: move the file away, and all instances register again",
        ),
        ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation => {
            (ErrorKind::Data, "it does not hold what gosd wrote")
        }
        ErrorCode::SystemIoFailure if extended(error) == ffi::SQLITE_IOERR_SHMSIZE => {
            (ErrorKind::Unavailable, FULL)
        }
        ErrorCode::SystemIoFailure => {
            (ErrorKind::Unavailable, "reading or writing it fails: is the disk full, or damaged?")
        }
        _ => (ErrorKind::Unavailable, "the database cannot be used"),
    };
    (kind, what.into())
}

fn extended(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code)
}

/// Maps an error of opening or making a file at this path.
pub(crate) fn from_io(error: io::Error, path: &Path) -> Error {
    let judged = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Unavailable, FULL)
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Error::new(ErrorKind::Denied, "its file system is read-only: choose another path")
        }
        _ => cannot_open(path),
    };
    Error::new(judged.kind(), format!("{}: {judged}", path.display())).caused_by(error)
}

/// Why a path cannot be opened, which SQLite does not say: the folder may be missing, or another user's.
fn cannot_open(path: &Path) -> Error {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        Error::new(ErrorKind::Data, "it is a folder: name a file in it")
    } else if path.is_symlink() && path.metadata().map_or(true, |there| there.len() == 0) {
        Error::new(ErrorKind::Denied, "it is a link to nothing: remove it, or name the file itself")
    } else if folder.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        Error::new(ErrorKind::Unavailable, "its folder does not exist: create it")
    } else if folder.metadata().is_ok() && !folder.is_dir() {
        Error::new(ErrorKind::Denied, "it is not in a folder")
    } else if has_no_descriptors() {
        let message = "the process has too many files open: raise its limit (ulimit -n)";
        Error::new(ErrorKind::Unavailable, message)
    } else {
        Error::new(ErrorKind::Denied, format!("it cannot be opened: {}", whose(path)))
    }
}

/// Whether fewer files can be opened than a write takes, with some to spare.
fn has_no_descriptors() -> bool {
    let files: Vec<_> = (0..4).map(|_| File::open("/")).collect();
    cfg!(unix) && files.iter().any(Result::is_err)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn codes_and_kinds() {
        for (code, kind) in [
            (ffi::SQLITE_BUSY, ErrorKind::Unavailable),
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorKind::Unavailable),
            (ffi::SQLITE_LOCKED, ErrorKind::Unavailable),
            (ffi::SQLITE_FULL, ErrorKind::Unavailable),
            (ffi::SQLITE_IOERR_WRITE, ErrorKind::Unavailable),
            (ffi::SQLITE_IOERR_SHMSIZE, ErrorKind::Unavailable),
            (ffi::SQLITE_READONLY_DBMOVED, ErrorKind::Unavailable),
            (ffi::SQLITE_NOMEM, ErrorKind::Unavailable),
            (ffi::SQLITE_PERM, ErrorKind::Denied),
            (ffi::SQLITE_READONLY_DIRECTORY, ErrorKind::Denied),
            (ffi::SQLITE_AUTH, ErrorKind::Denied),
            (ffi::SQLITE_NOTADB, ErrorKind::Data),
            (ffi::SQLITE_CORRUPT_VTAB, ErrorKind::Data),
            (ffi::SQLITE_ERROR, ErrorKind::Data),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = from_sqlite(error, Path::new("/x/gosd.db"));
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().starts_with("/x/gosd.db: "), "{error}");
        }
    }

    #[test]
    fn why_a_file_cannot_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, kind) in [
            (dir.path().to_owned(), ErrorKind::Data),
            (dir.path().join("missing/gosd.db"), ErrorKind::Unavailable),
            (file.join("gosd.db"), ErrorKind::Denied),
            (file, ErrorKind::Denied),
        ] {
            assert_eq!(cannot_open(&path).kind(), kind, "{}", path.display());
        }
    }
}
