//! The list as the standard input of the command.
//!
//! It is a file and no pipe. Of a pipe the command would see an ordinary end if gosd died while it writes, and
//! take a part of the list for the whole; and a daemon that inherits the pipe and does not read it would keep
//! gosd writing for ever.

#[cfg(unix)]
use std::fs::File;
use std::io::{self, Write};
use std::process::Stdio;

/// A file without a name that contains the text.
#[cfg(unix)]
pub(super) fn holding(text: &str) -> io::Result<Stdio> {
    use std::io::Seek;

    let mut file = nameless()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// A file in memory: a container often has no directory that it may write to.
#[cfg(target_os = "linux")]
fn nameless() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};

    Ok(memfd_create("gosd-list", MemfdFlags::CLOEXEC)?.into())
}

#[cfg(all(unix, not(target_os = "linux")))]
fn nameless() -> io::Result<File> {
    removed_from(&std::env::temp_dir())
}

/// A file that is removed from its directory as soon as it is open, and that nobody else can open before.
#[cfg(all(unix, any(test, not(target_os = "linux"))))]
fn removed_from(directory: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let path = directory.join(format!("gosd-{:016x}", fastrand::u64(..)));
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// A pipe, for such a system does not remove an open file. The thread ends with the last reader.
#[cfg(not(unix))]
pub(super) fn holding(text: &str) -> io::Result<Stdio> {
    let (reader, mut writer) = io::pipe()?;
    let text = text.to_owned();
    std::thread::spawn(move || {
        // This fails if the command does not read everything, as it may.
        let _ = writer.write_all(text.as_bytes());
    });
    Ok(reader.into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn a_removed_file_can_be_written_and_read() {
        let directory = tempfile::TempDir::new().unwrap();
        let mut file = removed_from(directory.path()).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
        file.write_all(b"list").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "list");
    }
}
