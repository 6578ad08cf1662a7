//! The user whom servers run as that refuse to run as root, and what belongs to that user.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Makes the server the owner of a folder and of all that is in it.
pub(crate) fn give_to_server(path: &Path) {
    if !is_root() {
        return;
    }
    let (user, group) = server_user();
    chown(path, Some(user), Some(group)).expect("we are root");
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("it can be read");
        entries.for_each(|entry| give_to_server(&entry.expect("it can be read").path()));
    }
}

/// The words to put before a command that must not be run by root; none if we are not root.
pub(crate) fn as_other_than_root() -> Vec<String> {
    if !is_root() {
        return Vec::new();
    }
    let (user, group) = server_user();
    let (user, group) = (format!("--reuid={user}"), format!("--regid={group}"));
    vec!["setpriv".into(), user, group, "--clear-groups".into()]
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The numeric ids of the user `postgres` and its group.
fn server_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("there are users");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("Debian's package makes the user").split(':').skip(2);
    let mut number = || fields.next().and_then(|it| it.parse().ok()).expect("a number");
    (number(), number())
}

/// Copies a file so that the server accepts it: a key has to belong to the server's user, and be readable
/// only to it.
pub(crate) fn copy_for_server(from: &Path, to: &Path, owner_of: &Path) {
    fs::copy(from, to).expect("the file can be copied");
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let owner = fs::metadata(owner_of).expect("it is there");
    chown(to, Some(owner.uid()), Some(owner.gid())).expect("we may");
}

/// The words to put before a command, so that it finds a disk of so many MiB in the place of a folder.
pub(crate) fn on_small_disk(mib: u32, memory: &str) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mount = format!("mount -t tmpfs -o size={mib}m gosd {memory}");
    if is_root() {
        // No user namespace, because the server runs as another user of this host.
        let script = format!(r#"{mount} && exec "$@""#);
        return words(&["unshare", "--mount", "sh", "-c", &script, "sh"]);
    }
    // Only root may mount, and the server refuses root. So a first namespace makes this user root for the
    // mount, and a second one makes it the same user again for the command.
    let own = fs::metadata("/proc/self").expect("a process has a folder there");
    let back = format!("--map-user={} --map-group={}", own.uid(), own.gid());
    let script = format!(r#"{mount} && exec unshare --user {back} "$@""#);
    words(&["unshare", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
}
