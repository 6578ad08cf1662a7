use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Which file stands at a path, so that one put in its place is noticed.
///
/// The time it was made is part of it, since file systems give the number of a removed file to the
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
