//! Whether the database accepts writes: without them no instance can renew, and an expired lease proves
//! nothing.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, Instant};

use gosd_core::{Error, ErrorKind};

/// For how long one successful write shows that writes are accepted; after that a write is tried.
const VOUCHES: Duration = Duration::from_secs(4);

/// What this driver knows about whether the database accepts writes.
#[derive(Default)]
pub(crate) struct Writes {
    /// When a write, by this driver or by another process, last succeeded.
    taken: Option<Instant>,
    /// The version of the data, which changes with every write by another connection.
    version: Option<i64>,
    /// When a write by another process was last noticed.
    others: Option<Instant>,
    /// Whether this driver has ever written.
    own: bool,
    refused: Option<Refused>,
}

/// Since when writes have been refused: the time of the last write that succeeded, if there was one.
#[derive(Clone, Copy)]
pub(crate) struct Refused(Option<Instant>);

impl Refused {
    /// The same as a time of the wall clock, which shows `now`, in ms since 1970.
    pub(crate) fn at(self, now: i64) -> i64 {
        let passed = self.0.map(|since| i64::try_from(since.elapsed().as_millis()));
        // A process that has just started does not know who had a lease before.
        passed.map_or(i64::MIN, |passed| now - passed.unwrap_or(i64::MAX / 2))
    }
}

/// The cause of an error, without the outer text that another error repeats.
#[derive(Debug)]
struct Cause(Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source().map_or(Ok(()), |source| write!(f, "{source}"))
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()?.source()
    }
}

impl Writes {
    /// Records the version of the data, which changes when another connection has written.
    pub(crate) fn see(&mut self, version: i64) {
        if self.version.replace(version).is_some_and(|before| before != version) {
            self.others = Some(Instant::now());
            self.taken = self.others;
        }
    }

    /// Records that a write of this driver succeeded.
    pub(crate) fn taken(&mut self) {
        self.own = true;
        self.taken = Some(Instant::now());
    }

    /// Records that a write failed.
    ///
    /// Returns `None` if other processes can write, or if this process never could because it may only read.
    /// Otherwise returns the error, as that of an outage.
    pub(crate) fn failed(&mut self, error: Error) -> Option<Error> {
        // The next connection counts its versions from the beginning.
        self.version = None;
        let may_only_read = error.kind() == ErrorKind::Denied && !self.own;
        let is_about_us = matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unavailable)
            && self.others.is_some_and(|at| at.elapsed() < VOUCHES);
        if may_only_read || is_about_us {
            return None;
        }
        self.refused.get_or_insert(Refused(self.taken));
        Some(self.as_outage(error))
    }

    /// A write that succeeded before is expected to succeed again, whatever the kind of the error.
    pub(crate) fn as_outage(&self, error: Error) -> Error {
        if !self.own || error.is_retryable() {
            return error;
        }
        let outage = Error::new(ErrorKind::Unavailable, error.to_string());
        match error.source() {
            Some(_) => outage.caused_by(Cause(error)),
            None => outage,
        }
    }

    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Records that writes are accepted again. By then the caller has given every instance time to renew.
    pub(crate) fn accepted(&mut self) {
        self.refused = None;
    }

    /// Whether it is time to try a write.
    pub(crate) fn are_in_doubt(&self) -> bool {
        self.taken.is_none_or(|at| at.elapsed() >= VOUCHES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Error {
        Error::new(ErrorKind::Denied, "no")
    }

    #[test]
    fn a_process_that_never_could_write_only_reads() {
        let mut writes = Writes::default();
        assert!(writes.failed(denied()).is_none());
        assert!(writes.refused().is_none());
        let full = writes.failed(Error::new(ErrorKind::Unavailable, "full"));
        assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::Unavailable));
    }

    #[test]
    fn a_refused_write_that_succeeded_before_is_an_outage() {
        let mut writes = Writes::default();
        writes.taken();
        let error = writes.failed(denied().caused_by("why")).expect("an error");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unavailable, "no".into()));
        assert_eq!(error.source().map(ToString::to_string), Some("why".into()));
        let since = writes.refused().expect("it is refused").at(1_000_000);
        assert!((900_000..=1_000_000).contains(&since), "{since}");
    }

    #[test]
    fn a_failure_while_others_write_is_no_outage() {
        let mut writes = Writes::default();
        writes.taken();
        writes.see(1);
        assert!(writes.failed(denied()).is_some(), "one version alone says nothing");
        for version in [1, 2] {
            writes.see(version);
        }
        assert!(writes.failed(denied()).is_none());
        assert!(writes.failed(Error::new(ErrorKind::Data, "damaged")).is_some());
    }
}
