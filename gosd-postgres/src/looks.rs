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
/// How far the server's clock may deviate from what is expected before it counts as set, as in `gosd.look`.
const TOLERANCE: Duration = Duration::from_millis(1_500);

/// The results of one driver's looks, shared by `list` and by every watch.
#[derive(Default)]
pub(crate) struct Looks(Mutex<State>);

#[derive(Default)]
struct State {
    /// The last reading of the server's clock.
    last: Option<Reading>,
    /// Since when looks have been at most a few seconds apart.
    since: Option<Instant>,
    /// Whether a write has failed, or contact was lost, since the last look.
    troubled: bool,
    /// Whether this process has ever written.
    wrote: bool,
    /// Until when this process does not try whether it may write.
    only_reads: Option<Instant>,
}

/// A time of the server's clock, in µs since 1970, and the instants between which the clock showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    server: i64,
    sent: Instant,
    received: Instant,
}

impl Reading {
    /// The earliest time that the server's clock shows after an instant, if it is not set.
    fn earliest(&self, sent: Instant) -> i64 {
        self.server.saturating_add(micros(sent.saturating_duration_since(self.received)))
    }

    /// The latest time that the server's clock shows before an instant, if it is not set.
    fn latest(&self, received: Instant) -> i64 {
        self.server.saturating_add(micros(received.saturating_duration_since(self.sent)))
    }
}

/// The parameters of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The earliest and the latest time, in µs since 1970, that the server's clock shows if it was not set.
    pub(crate) expected: Option<(i64, i64)>,
    /// After this time of the server the look does nothing, because either the clock was set or the question
    /// was late. `None` if the clock was never read before, or is known to have been set.
    pub(crate) not_after: Option<i64>,
    /// Whether living instances may have been unable to renew.
    pub(crate) troubled: bool,
    /// Whether this process knows enough to remove expired instances.
    pub(crate) may_purge: bool,
    sent: Instant,
    last: Option<Reading>,
}

/// What the server answers to a look.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    /// The server's time, in µs since 1970.
    pub(crate) now: i64,
    /// Whether the server has looked, and not only read its clock.
    pub(crate) has_looked: bool,
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
        let expected = state.last.map(|last| (last.earliest(now), last.latest(now)));
        Some(Question {
            expected,
            not_after: expected.map(|(_, latest)| latest.saturating_add(micros(TOLERANCE))),
            troubled: state.troubled,
            may_purge: state.since.is_some_and(|since| passed(since) >= BEGINS)
                && state.last.is_some_and(|last| passed(last.received) <= APART),
            sent: now,
            last: state.last,
        })
    }

    /// Records the answer to a look. Only a process with the right to write gets one.
    ///
    /// Returns what to ask next, at once, if the server has not looked: it cannot tell a clock that was set
    /// from a question that was late, and the time of the answer can.
    pub(crate) fn answered(&self, question: Question, answer: Answer) -> Option<Question> {
        self.answered_at(question, answer, Instant::now())
    }

    fn answered_at(&self, question: Question, answer: Answer, now: Instant) -> Option<Question> {
        let reading = Reading { server: answer.now, sent: question.sent, received: now };
        if let Some(last) = question.last.filter(|_| !answer.has_looked) {
            let latest = last.latest(now);
            if answer.now > latest.saturating_add(micros(TOLERANCE)) {
                debug!("the server's clock was set forward");
                let expected = Some((last.earliest(now), latest));
                return Some(Question { expected, not_after: None, sent: now, ..question });
            }
            self.state().read(reading);
            return self.question_at(now);
        }
        let mut state = self.state();
        let goes_on =
            state.last.is_some_and(|last| now.saturating_duration_since(last.received) <= APART);
        if !goes_on || state.since.is_none() {
            state.since = Some(now);
        }
        state.read(reading);
        state.troubled = false;
        state.wrote = true;
        state.only_reads = None;
        None
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

impl State {
    /// Records a reading of the clock, unless a later one is known.
    fn read(&mut self, reading: Reading) {
        if self.last.is_none_or(|last| last.sent <= reading.sent) {
            self.last = Some(reading);
        }
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

    /// Asks at an instant, gets an answer at another, and requires that no further question is necessary.
    fn look_at(looks: &Looks, server: i64, sent: Instant, received: Instant) {
        let question = looks.question_at(sent).expect("it may write");
        let answer = Answer { now: server, has_looked: true };
        assert_eq!(looks.answered_at(question, answer, received), None);
    }

    fn look(looks: &Looks) {
        let now = Instant::now();
        look_at(looks, 0, now, now);
    }

    #[test]
    fn a_process_that_has_just_started_removes_nothing() {
        let (looks, begin) = (Looks::default(), Instant::now());
        let may_purge = |at| looks.question_at(begin + at).expect("it may write").may_purge;
        assert!(!may_purge(Duration::ZERO));
        let look = |at| look_at(&looks, 0, begin + at, begin + at);
        look(Duration::ZERO);
        assert!(!may_purge(SECOND));
        look(SECOND);
        assert!(may_purge(SECOND * 2));
        assert!(!may_purge(SECOND * 5), "it has not looked for long");
        look(SECOND * 5);
        assert!(!may_purge(SECOND * 6), "it begins anew");
        look(SECOND * 7);
        assert!(may_purge(SECOND * 8));
    }

    /// The clock showed 10 s at some instant between the question and the answer, 2 s later.
    #[test]
    fn a_slow_answer_makes_the_expected_time_less_exact() {
        let (looks, begin) = (Looks::default(), Instant::now());
        let question = looks.question_at(begin).expect("it may write");
        assert_eq!((question.expected, question.not_after), (None, None));
        look_at(&looks, 10_000_000, begin, begin + SECOND * 2);
        let question = looks.question_at(begin + SECOND * 3).expect("it may write");
        assert_eq!(question.expected, Some((11_000_000, 13_000_000)));
        assert_eq!(question.not_after, Some(14_500_000));
    }

    #[test]
    fn a_question_that_was_late_is_asked_again() {
        let (looks, begin) = (Looks::default(), Instant::now());
        look_at(&looks, 10_000_000, begin, begin);
        let late = looks.question_at(begin + SECOND).expect("it may write");
        let answer = Answer { now: 13_000_000, has_looked: false };
        let again = looks.answered_at(late, answer, begin + SECOND * 4).expect("it asks again");
        assert_eq!(again.expected, Some((13_000_000, 16_000_000)));
        assert_eq!(again.not_after, Some(17_500_000));
    }

    #[test]
    fn a_clock_that_was_set_forward_is_reported_with_what_it_should_show() {
        let (looks, begin) = (Looks::default(), Instant::now());
        look_at(&looks, 10_000_000, begin, begin);
        let question = looks.question_at(begin + SECOND).expect("it may write");
        let answer = Answer { now: 13_600_000, has_looked: false };
        let received = begin + SECOND * 2;
        let set = looks.answered_at(question, answer, received).expect("it asks again");
        assert_eq!((set.expected, set.not_after), (Some((12_000_000, 12_000_000)), None));
        // Until then the earlier reading counts for others who ask.
        let other = looks.question_at(received).expect("it may write");
        assert_eq!(other.expected, Some((12_000_000, 12_000_000)));
        let answer = Answer { has_looked: true, ..answer };
        assert_eq!(looks.answered_at(set, answer, received), None);
        let next = looks.question_at(received).expect("it may write");
        assert_eq!(next.expected, Some((13_600_000, 13_600_000)));
    }

    #[test]
    fn an_answer_that_was_overtaken_is_not_the_last_reading() {
        let (looks, begin) = (Looks::default(), Instant::now());
        let slow = looks.question_at(begin).expect("it may write");
        look_at(&looks, 20_000_000, begin + SECOND, begin + SECOND);
        let answer = Answer { now: 10_000_000, has_looked: true };
        assert_eq!(looks.answered_at(slow, answer, begin + SECOND * 2), None);
        let next = looks.question_at(begin + SECOND * 2).expect("it may write");
        assert_eq!(next.expected, Some((21_000_000, 21_000_000)));
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
            look(&looks);
            assert!(!troubled());
        }
    }

    #[test]
    fn a_denied_write_is_an_outage_only_for_a_process_that_could_write() {
        let looks = Looks::default();
        let question = looks.question().expect("it may write");
        assert!(looks.refused(denied()).is_ok());
        assert_eq!(looks.question(), None);
        assert_eq!(looks.answered(question, Answer { now: 0, has_looked: true }), None);
        looks.tried_to_write(true);
        let error = looks.refused(denied()).expect_err("it could");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(looks.question().expect("it asks on").troubled);
    }
}
