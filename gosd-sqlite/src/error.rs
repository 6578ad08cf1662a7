//! What SQLite says, as kinds of errors.

use std::path::Path;

use gosd_core::{Error, ErrorKind};
use rusqlite::{ErrorCode, ffi};

/// What is wrong where the write-ahead log cannot be used.
pub(crate) const NO_WAL: &str =
    "its file system cannot share memory between processes (no WAL): choose a local one";
const FULL: &str = "the disk is full: make room";

/// Maps an error of SQLite about the database at this path.
pub(crate) fn from_sqlite(error: rusqlite::Error, path: &Path) -> Error {
    let (kind, what) = judge(&error, path);
    Error::new(kind, format!("{}: {what}", path.display())).caused_by(error)
}

fn judge(error: &rusqlite::Error, path: &Path) -> (ErrorKind, &'static str) {
    let Some(code) = error.sqlite_error_code() else {
        return (ErrorKind::Data, "it does not hold what gosd wrote");
    };
    match error.sqlite_error().map_or(0, |error| error.extended_code) {
        ffi::SQLITE_READONLY_DBMOVED => {
            return (ErrorKind::Unavailable, "the file was moved or removed");
        }
        ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMLOCK | ffi::SQLITE_IOERR_SHMMAP => {
            return (ErrorKind::Unsupported, NO_WAL);
        }
        ffi::SQLITE_IOERR_SHMSIZE => return (ErrorKind::Unavailable, FULL),
        _ => {}
    }
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Unavailable, "another process keeps the database locked")
        }
        ErrorCode::DiskFull => (ErrorKind::Unavailable, FULL),
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            (ErrorKind::Denied, "permission denied")
        }
        ErrorCode::ReadOnly => (
            ErrorKind::Denied,
            "it is read-only: gosd writes to the file, and makes others beside it",
        ),
        ErrorCode::CannotOpen => cannot_open(path),
        ErrorCode::NotADatabase => {
            (ErrorKind::Data, "it is no database: choose another path, or move the file away")
        }
        ErrorCode::DatabaseCorrupt => {
            (ErrorKind::Data, "the database is damaged: move the file away, and all register anew")
        }
        ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation => {
            (ErrorKind::Data, "it does not hold what gosd wrote")
        }
        ErrorCode::SystemIoFailure => {
            (ErrorKind::Unavailable, "reading or writing it fails: is the disk full, or damaged?")
        }
        _ => (ErrorKind::Unavailable, "the database cannot be used"),
    }
}

/// SQLite does not say why: the folder may be missing, or not be ours.
fn cannot_open(path: &Path) -> (ErrorKind, &'static str) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        (ErrorKind::Data, "it is a folder: name a file in it")
    } else if folder.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        (ErrorKind::Unavailable, "its folder does not exist: create it")
    } else if !folder.is_dir() {
        (ErrorKind::Denied, "it is not in a folder that can be entered")
    } else {
        (ErrorKind::Denied, "it cannot be opened: check the permissions of the file and its folder")
    }
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
            (ffi::SQLITE_IOERR_SHMMAP, ErrorKind::Unsupported),
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
            assert_eq!(cannot_open(&path).0, kind, "{}", path.display());
        }
    }
}
