//! Files: which one a path leads to, who owns it, and how a file beside the database is opened safely.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The identity of the file at a path, by which a replacement is noticed.
///
/// The time of its creation is a part of it, because file systems give the number of a removed file to the
/// next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(Which);

type Which = (u64, u64, Option<SystemTime>);

impl Identity {
    /// `None` if there is no file.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        match path.metadata() {
            Ok(metadata) => Ok(Some(Self(which(&metadata)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self(which(&file.metadata()?)))
    }
}

#[cfg(unix)]
fn which(metadata: &Metadata) -> Which {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino(), metadata.created().ok())
}

#[cfg(not(unix))]
fn which(metadata: &Metadata) -> Which {
    (0, 0, metadata.created().ok())
}

/// The path of a file beside another, as SQLite names its own: `gosd.db-journal`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Whether the path leads to something other than a plain file: opening a pipe would block.
pub(crate) fn is_odd(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| !there.is_file())
}

/// The path without links.
///
/// A link to an existing database is followed, because its operator put it there. A link to nothing or to
/// an empty file is refused: with it, anybody who may write in the folder could have a database made anywhere.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    match path.symlink_metadata() {
        Ok(there) => {
            let real = fs::canonicalize(path)?;
            if there.is_symlink() && real.metadata()?.len() == 0 {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Ok(real)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
            Ok(folder.join(path.file_name().unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

/// Opens a file that was made with [`make_bell`], without following a link and without blocking.
///
/// Anybody who may write in the folder chooses what stands at the path. So it has to be a plain file of at
/// most one byte, with one name, that belongs to this user, to root, or to the owner of the database.
pub(crate) fn open_bell(path: &Path, database: &Path, for_writing: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(!for_writing).write(for_writing);
    without_following(&mut options);
    let file = options.open(path)?;
    let there = file.metadata()?;
    if !there.is_file() || there.len() > 1 || !has_safe_owner(&there, database) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is no file that gosd made, or not of this user, root or the database's owner: \
             remove it",
        ));
    }
    // Only the owner can set the mode; for everybody else this fails, and the owner has set it before.
    let _ = as_database(&file, database);
    Ok(file)
}

/// Opens the file at a path for reading, without blocking.
pub(crate) fn open_to_look(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    without_following(&mut options);
    options.open(resolve(path)?)
}

/// Makes an empty file that everybody who may write to the database may write to. Fails if the path exists.
pub(crate) fn make_bell(path: &Path, database: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    without_following(&mut options);
    let file = options.open(path)?;
    as_database(&file, database)
}

/// Makes a file with the permissions that a new file gets here, to be removed soon.
pub(crate) fn make_sample(database: &Path) -> io::Result<PathBuf> {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let path = beside(database, &format!("-new-{}-{since}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    without_following(&mut options);
    options.open(&path)?;
    Ok(path)
}

#[cfg(unix)]
fn without_following(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    // The flags of the system fit: they are a C int.
    options.custom_flags(flags.bits().cast_signed());
}

#[cfg(not(unix))]
fn without_following(_: &mut OpenOptions) {}

#[cfg(unix)]
fn has_safe_owner(file: &Metadata, database: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = file.uid();
    let is_safe = owner == 0
        || owner == rustix::process::geteuid().as_raw()
        || database.metadata().is_ok_and(|database| database.uid() == owner);
    is_safe && file.nlink() == 1
}

#[cfg(not(unix))]
fn has_safe_owner(_: &Metadata, _: &Path) -> bool {
    true
}

/// Gives a file the database's mode, whatever the umask, and as root also the database's owner.
#[cfg(unix)]
fn as_database(file: &File, database: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let (Ok(database), there) = (database.metadata(), file.metadata()?) else { return Ok(()) };
    if rustix::process::geteuid().is_root() && there.uid() != database.uid() {
        fchown(file, Some(database.uid()), Some(database.gid()))?;
    }
    let mode = database.mode() & 0o666;
    if there.mode() & 0o777 == mode {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn as_database(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Says who owns a file and its folder, which user this process is, and what would give it access.
#[cfg(unix)]
pub(crate) fn whose(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let me = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let mut is_mine = true;
    let mut belongs = |what: &str, path: &Path| {
        let there = path.metadata().ok()?;
        let (user, group, mode) = (there.uid(), there.gid(), there.mode() & 0o7777);
        is_mine &= user == me;
        Some(format!("{what} belongs to user {user} and group {group} (mode {mode:o}), "))
    };
    let file = belongs("the file", path).unwrap_or_default();
    let folder = belongs("the folder", folder).unwrap_or_default();
    let advice = if is_mine {
        "give the user the right to write to both (chmod u+w)"
    } else {
        "let this user into the group, and give the group the right to write to both (chmod g+w)"
    };
    format!("{file}{folder}this process runs as user {me} and group {group}: {advice}")
}

#[cfg(not(unix))]
pub(crate) fn whose(_: &Path) -> String {
    "check the permissions of the file and its folder".into()
}
