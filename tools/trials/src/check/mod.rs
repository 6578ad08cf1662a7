//! Checks a history: which promises held, and with which figures.

mod load;
mod lookups;
mod membership;
mod times;

use std::fmt;
use std::time::Duration;

use crate::history::History;
use times::Times;

/// A promise that is checked in each trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// (a) A lookup never fails for a service that has had a live instance throughout.
    Found,
    /// (b) Once the fault is over, every client agrees with the backend and the truth, within one
    /// lease and one refresh interval.
    Agreed,
    /// (c) A killed instance is in no rotation later than one lease and two seconds after the backend and
    /// contact with it are back.
    Dropped,
    /// (d) An instance that left never comes back, and a killed one not for longer than a lease.
    Gone,
    /// (e) Every live instance is listed again.
    Listed,
    /// (f) The load on the backend stays bounded, and is spread over time.
    Bounded,
    /// (g) Tasks, sockets and memory return to their former counts.
    Returned,
}

impl Promise {
    /// All promises.
    pub const ALL: [Self; 7] = [
        Self::Found,
        Self::Agreed,
        Self::Dropped,
        Self::Gone,
        Self::Listed,
        Self::Bounded,
        Self::Returned,
    ];

    /// The letter of the promise.
    pub fn letter(self) -> char {
        char::from(b'a' + self as u8)
    }
}

/// The conditions of a trial, which decide what clients have to do.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How many clients look up services; they are numbered from 0.
    pub clients: usize,
    pub lease: Duration,
    pub refresh: Duration,
    /// Whether clients learn of changes only by polling.
    pub polls: bool,
    /// Whether the backend went back to an older state. Instances that left then come back for a lease.
    pub rewound: bool,
    /// Whether all clients stood still and went on at the same moment. Then each may call at once.
    pub frozen: bool,
    /// Whether clients go to other servers, and come back within a minute and a half, later than most trials end.
    /// Until then each may have one more connection. What a client hears after it came back it judges as after a lost
    /// contact: an instance that is merely absent may be alive for half a lease.
    pub wanders: bool,
}

impl Terms {
    /// How much later polling clients learn of a death: at their next read, and half a lease after that,
    /// because an instance that is merely absent may be alive.
    fn poll(&self) -> Duration {
        match self.polls {
            true => self.refresh + self.refresh / 10 + self.lease / 2,
            false => Duration::ZERO,
        }
    }
}

/// The result for one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub promise: Promise,
    /// The measured figure, in a few words.
    pub figure: String,
    /// The first few events that broke the promise.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Whether the promise was kept.
    pub fn held(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.held() { "held" } else { "broken" };
        write!(
            f,
            "{}\t{word}\t{}\t{}",
            self.promise.letter(),
            self.figure,
            self.violations.join("; ")
        )
    }
}

/// How much time may pass between an event and its record, on a busy machine.
const SLACK: Duration = Duration::from_secs(1);
/// How long a backend may take to notice that a lease ran out.
const GRACE: Duration = Duration::from_secs(2);
/// How many violations are reported.
const TOLD: usize = 5;

/// Checks a trial against every promise.
pub fn check(history: &History, terms: &Terms) -> Vec<Verdict> {
    let times = Times::of(history, terms);
    let judge = |promise: Promise| {
        let (figure, mut violations) = match promise {
            Promise::Found => lookups::found(history, &times),
            Promise::Agreed => membership::agreed(history, &times, terms),
            Promise::Dropped => membership::dropped(history, &times, terms),
            Promise::Gone => membership::gone(history, &times, terms),
            Promise::Listed => membership::listed(history, &times),
            Promise::Bounded => load::bounded(history, &times, terms),
            Promise::Returned => load::returned(history, terms),
        };
        let more = violations.len().saturating_sub(TOLD);
        violations.truncate(TOLD);
        if more > 0 {
            violations.push(format!("and {more} more"));
        }
        Verdict { promise, figure, violations }
    };
    Promise::ALL.map(judge).into()
}

/// A figure, and the events that broke the promise.
type Finding = (String, Vec<String>);

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
