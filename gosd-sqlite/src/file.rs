use std::fs::Metadata;
use std::io;
use std::path::Path;

/// Which file stands at a path, so that one put in its place is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(Which);

#[cfg(unix)]
type Which = (u64, u64);
#[cfg(not(unix))]
type Which = Option<std::time::SystemTime>;

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
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn which(metadata: &Metadata) -> Which {
    metadata.created().ok()
}
