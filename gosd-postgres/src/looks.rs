//! What this process knows of the server's clock and of its own writes, which decides whether leases count.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gosd_core::{Error, ErrorKind, Result};
use tracing::debug;

/// For how long a process that has just started removes nothing. The clock may have been set a moment before
/// its start, and the processes that know of it look once a second.
const BEGINS: Duration = Duration::from_millis(1_500);
/// The longest time between two looks for a process to know what happened in between.
const APART: Duration = Duration::from_secs(3);
/// How often a process that may only read tries whether it may write by now.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The results of one driver's looks, shared by `list` and by every watch.
#[derive(Default)]
pub(crate) struct Looks(Mutex<State>);

#[derive(Default)]
struct State {
    /// The server's time at the last look, in µs since 1970, and when the answer came.
    last: Option<(i64, Instant)>,
    /// Since when looks have been at most a few seconds apart.
    since: Option<Instant>,
    /// Whether a write has failed, or contact was lost, since the last look.
    troubled: bool,
    /// Whether this process has ever written.
    wrote: bool,
    /// Until when this process does not try whether it may write.
    only_reads: Option<Instant>,
}

/// The parameters of a look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// What the server's clock should show, in µs since 1970, if it was not set.
    pub(crate) expected: Option<i64>,
    /// Whether living instances may have been unable to renew.
    pub(crate) troubled: bool,
    /// Whether this process knows enough to remove expired instances.
    pub(crate) may_purge: bool,
}

impl Looks {
    /// The parameters of the next look; `None` for a process that may only read.
    pub(crate) fn question(&self) -> Option<Question> {
        self.question_at(Instant::now())
    }

    fn question_at(&self, now: Instant) -> Option<Question> {
        let state = self.state();
        if state.only_reads.is_some_and(|until| now < until) {
            return None;
        }
        let passed = |at: Instant| now.saturating_duration_since(at);
        Some(Question {
            expected: state.last.map(|(server, at)| server.saturating_add(micros(passed(at)))),
            troubled: state.troubled,
            may_purge: state.since.is_some_and(|since| passed(since) >= BEGINS)
                && state.last.is_some_and(|(_, at)| passed(at) <= APART),
        })
    }

    /// Records the answer to a look. Only a process with the right to write gets one.
    pub(crate) fn answered(&self, server: i64) {
        self.answered_at(server, Instant::now());
    }

    fn answered_at(&self, server: i64, now: Instant) {
        let mut state = self.state();
        let goes_on = state.last.is_some_and(|(_, at)| now.saturating_duration_since(at) <= APART);
        if !goes_on || state.since.is_none() {
            state.since = Some(now);
        }
        state.last = Some((server, now));
        state.troubled = false;
        state.wrote = true;
        state.only_reads = None;
    }

    /// Records that a look was refused, or that its connection broke.
    ///
    /// # Errors
    ///
    /// The error; if this process has written before, as that of an outage. `Ok` if this process may only
    /// read, because then it can go on reading.
    pub(crate) fn refused(&self, error: Error) -> Result<()> {
        let mut state = self.state();
        if error.kind() == ErrorKind::Denied && !state.wrote {
            debug!("the server does not let this process write: {error}");
            state.only_reads = Some(Instant::now() + ASK_AGAIN);
            return Ok(());
        }
        state.troubled = true;
        if error.is_retryable() || !state.wrote {
            return Err(error);
        }
        Err(Error::new(ErrorKind::Unavailable, format!("the server takes no writes: {error}")))
    }

    /// Records whether a registration or a goodbye succeeded.
    pub(crate) fn tried_to_write(&self, is_taken: bool) {
        let mut state = self.state();
        state.wrote |= is_taken;
        state.troubled |= !is_taken;
    }

    /// Records that contact was lost, so that living instances may have been unable to renew.
    pub(crate) fn lost_contact(&self) {
        self.state().troubled = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn denied() -> Error {
        Error::new(ErrorKind::Denied, "no")
    }

    #[test]
    fn a_process_that_has_just_started_removes_nothing() {
        let (looks, begin) = (Looks::default(), Instant::now());
        let may_purge = |at| looks.question_at(begin + at).expect("it may write").may_purge;
        assert!(!may_purge(Duration::ZERO));
        looks.answered_at(0, begin);
        assert!(!may_purge(SECOND));
        looks.answered_at(0, begin + SECOND);
        assert!(may_purge(SECOND * 2));
        assert!(!may_purge(SECOND * 5), "it has not looked for long");
        looks.answered_at(0, begin + SECOND * 5);
        assert!(!may_purge(SECOND * 6), "it begins anew");
        looks.answered_at(0, begin + SECOND * 7);
        assert!(may_purge(SECOND * 8));
    }

    #[test]
    fn a_look_has_the_expected_time_of_the_server() {
        let (looks, begin) = (Looks::default(), Instant::now());
        let expected = |at| looks.question_at(begin + at).expect("it may write").expected;
        assert_eq!(expected(SECOND), None);
        looks.answered_at(7, begin);
        assert_eq!(expected(SECOND), Some(1_000_007));
    }

    #[test]
    fn trouble_lasts_until_the_next_look() {
        let looks = Looks::default();
        let troubled = || looks.question().expect("it may write").troubled;
        assert!(!troubled());
        let notes: [fn(&Looks); 2] = [Looks::lost_contact, |looks| looks.tried_to_write(false)];
        for note in notes {
            note(&looks);
            assert!(troubled());
            looks.answered(0);
            assert!(!troubled());
        }
    }

    #[test]
    fn a_denied_write_is_an_outage_only_for_a_process_that_could_write() {
        let looks = Looks::default();
        assert!(looks.refused(denied()).is_ok());
        assert_eq!(looks.question(), None);
        looks.answered(0);
        looks.tried_to_write(true);
        let error = looks.refused(denied()).expect_err("it could");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(looks.question().expect("it asks on").troubled);
    }
}
