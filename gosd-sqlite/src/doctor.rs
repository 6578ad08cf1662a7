//! The diagnosis of the file and of what is registered in it, for `gosd doctor`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gosd_core::{BoxFuture, Fact, Result};
use rusqlite::{Connection, params};

use crate::driver::Sqlite;
use crate::layout;
use crate::options::Options;
use crate::store::Store;

/// File systems that other hosts share, by the beginnings of their names in Linux.
const SHARED: [&str; 16] = [
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "ceph",
    "gfs",
    "ocfs",
    "lustre",
    "gpfs",
    "glusterfs",
    "beegfs",
    "virtiofs",
    "ncpfs",
    "coda",
    "fuse.",
];
/// File systems in user space that are local nevertheless.
const LOCAL: [&str; 4] = ["fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.ntfs", "fuse.bindfs"];

/// Finds problems, present or likely, of the file of a URL and of what it holds. Creates no file if there is
/// none.
///
/// The clock is this host's own, so it is not compared. `lease`, which the diagnosis of other databases
/// needs, is ignored, because each record has its own lease.
///
/// # Errors
///
/// As for the methods of the driver.
pub fn diagnose(url: &str, _lease: Duration) -> BoxFuture<'_, Result<Vec<Fact>>> {
    Box::pin(async move {
        let options = Options::parse(url)?;
        let path = options.path.clone();
        let driver = Sqlite::new(options, SystemTime::now);
        // SQLite may block, so the work is done on the driver's thread.
        driver.run(move |store| look(store, &path)).await
    })
}

fn look(store: &mut Store, path: &Path) -> Result<Vec<Fact>> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(vec![Fact::Absent {
            what: format!("there is no file {}: nobody has registered there yet", path.display()),
            advice:
                "compare the path with that of the services: one that does not begin with / is \
                     taken from the working directory"
                    .into(),
        }]);
    }
    let mut facts: Vec<Fact> = file_system(path).into_iter().chain(rights(path)).collect();
    facts.extend(store.query(records)?);
    Ok(facts)
}

/// Checks the file system, on Linux, which shows what it is.
fn file_system(path: &Path) -> Option<Fact> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let real = fs::canonicalize(path).ok()?;
    let (at, kind) = mount_of(&mounts, &real)?;
    is_shared(kind).then(|| Fact::Trouble {
        name: "file-system",
        what: format!(
            "{} is on a file system of other hosts ({kind} at {at}), where locks and leases cannot be \
             relied on",
            path.display()
        ),
        advice: "put the file on a local disk, where the hosts are one; for several, use gosd serve, \
                 or another database"
            .into(),
    })
}

fn is_shared(kind: &str) -> bool {
    SHARED.iter().any(|name| kind.starts_with(name))
        && !LOCAL.iter().any(|name| kind.starts_with(name))
}

/// The mount that contains a path, and the type of its file system, from Linux's list.
fn mount_of<'a>(mounts: &'a str, path: &Path) -> Option<(String, &'a str)> {
    let of_line = |line: &'a str| {
        let (mount, system) = line.split_once(" - ")?;
        Some((unescaped(mount.split(' ').nth(4)?), system.split(' ').next()?))
    };
    // A later mount at the same place hides the earlier ones.
    mounts
        .lines()
        .filter_map(of_line)
        .filter(|(at, _)| path.starts_with(at))
        .max_by_key(|(at, _)| Path::new(at).components().count())
}

/// A path from the list, in which characters that separate fields are octal numbers.
fn unescaped(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Checks who may write to the file: a user who may can have requests sent anywhere.
#[cfg(unix)]
fn rights(path: &Path) -> Option<Fact> {
    use std::os::unix::fs::MetadataExt;
    const OTHERS: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let mode = |path: &Path| path.metadata().map_or(0, |there| there.mode());
    let folder = path.parent()?;
    let what = if mode(path) & OTHERS != 0 {
        format!("every user of this host may write to {}", path.display())
    } else if mode(folder) & (OTHERS | STICKY) == OTHERS {
        format!("every user of this host may replace {}, by its folder", path.display())
    } else {
        return None;
    };
    Some(Fact::Trouble {
        name: "file-rights",
        what: format!("{what}: whoever may can have requests sent anywhere"),
        advice: format!(
            "chmod o-w {} {}, and give the file a group of those who register",
            path.display(),
            folder.display()
        ),
    })
}

#[cfg(not(unix))]
fn rights(_: &Path) -> Option<Fact> {
    None
}

fn records(db: &mut Connection, namespace: &str) -> rusqlite::Result<Vec<Fact>> {
    // The host's current time, written as in the triggers of the layout.
    let mut statement = db.prepare(
        "SELECT id, service, url, metadata, lease_ms FROM instances WHERE namespace = ?1 AND
         expires_at > CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    )?;
    let mut rows = statement.query(params![namespace])?;
    let mut facts = Vec::new();
    while let Some(row) = rows.next()? {
        let read = layout::readable_id(row, 0).and_then(|id| layout::instance(id, row, [1, 2, 3]));
        let lease: Option<i64> = row.get(4).unwrap_or_default();
        let lease = lease.and_then(|ms| u64::try_from(ms).ok());
        facts.extend(match (read, lease.map(Duration::from_millis)) {
            (Err(problem), _) => {
                let advice = "sqlite3 and DELETE FROM instances remove it";
                Some(Fact::Unreadable { what: format!("{problem} ({advice})") })
            }
            (Ok(instance), Some(lease)) => {
                Some(Fact::Lease { id: instance.id().clone(), at_least: lease, at_most: lease })
            }
            // A record that was written by hand has an expiry, and may have no lease.
            (Ok(_), None) => None,
        });
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /proc rw,nosuid - proc proc rw
41 22 0:44 / /mnt/a\\040b rw - nfs4 10.0.0.1:/x rw,vers=4.2
42 41 0:45 / /mnt/a\\040b/local rw - xfs /dev/sdb rw
43 22 0:46 / /home rw - fuse.sshfs me@host:/ rw
44 22 0:47 / /srv rw - ext4 /dev/sdc rw
45 44 0:48 / /srv rw - cifs //host/share rw
";

    #[test]
    fn the_mount_of_a_path() {
        for (path, at, kind, shared) in [
            ("/var/lib/gosd.db", "/", "ext4", false),
            ("/mnt/a b/gosd.db", "/mnt/a b", "nfs4", true),
            ("/mnt/a bc/gosd.db", "/", "ext4", false),
            ("/mnt/a b/local/x/gosd.db", "/mnt/a b/local", "xfs", false),
            ("/home/gosd.db", "/home", "fuse.sshfs", true),
            ("/srv/gosd.db", "/srv", "cifs", true),
        ] {
            assert_eq!(mount_of(MOUNTS, Path::new(path)), Some((at.to_owned(), kind)), "{path}");
            assert_eq!(is_shared(kind), shared, "{kind}");
        }
        for local in ["overlay", "tmpfs", "btrfs", "zfs", "fuse.fuse-overlayfs", "fuseblk"] {
            assert!(!is_shared(local), "{local}");
        }
    }
}
