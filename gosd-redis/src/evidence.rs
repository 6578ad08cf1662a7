//! What this process knows of the server's clock and of its writes, which decides whether an expired lease
//! means a death.
//!
//! A lease runs out when its owner dies, but also when no client can renew it, or when the clock that
//! measures it is set. So an expired lease counts only if its owner had the chance to renew it: the server
//! has accepted writes since, and its clock has kept pace with this process's own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gosd_core::{Error, ErrorKind, Result};
use redis::RedisResult;
use tracing::debug;

use crate::error::{self, Refusal};
use crate::scripts::millis;

/// The lease that a process assumes if it has not registered anything: gosd's default.
const USUAL_LEASE: Duration = Duration::from_secs(15);
/// The longest lease that is assumed only because some instance has it.
const LONGEST_ASSUMED: Duration = Duration::from_secs(60);
/// How far the server's clock may deviate from this process's before it counts as set.
const STEP: u64 = 500;
/// How exact a reading of the server's clock has to be for later ones to be compared with it.
const EXACT: u64 = 1_000;
/// How often a process that may only read tries whether it may write by now.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// The longest time between two renewals seen, if instances are being renewed all the time.
const RENEWALS_APART: Duration = Duration::from_secs(5);

/// The evidence of one driver's calls, shared by `list` and by every watch.
pub(crate) struct Evidence {
    state: Mutex<State>,
    /// The first instant of the driver, from which its times count.
    origin: Instant,
}

#[derive(Default)]
struct State {
    /// The lease last asked for.
    asked: Option<Duration>,
    /// The longest lease at the last look.
    longest: Duration,
    /// By how much the server's clock is ahead of the time since the origin, in ms: at least, and at most.
    offset: Option<(i64, i64)>,
    steps: Steps,
    writes: Writes,
    /// Until then no expired lease counts.
    held_until: Option<Instant>,
    /// Whether the server has ever answered.
    heard: bool,
    /// When the server first answered, by this process's own clock and by the server's, unless leases have
    /// been held since.
    began: Option<(Instant, u64)>,
    renewals: Option<Renewals>,
}

/// How often the server's clock was set, and by how many ms the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) count: u64,
    pub(crate) last: i64,
}

/// Whether the server accepts this process's writes.
#[derive(Clone, Copy, Default)]
enum Writes {
    #[default]
    Unknown,
    Taken,
    /// The server refused the last write, or cannot be reached.
    Refused,
    /// The server has never accepted one, because of this process's user or because it is a replica.
    Never {
        ask_again: Instant,
    },
}

/// The renewals by other processes, as a process that may only read sees them.
#[derive(Clone, Copy)]
struct Renewals {
    /// Since when renewals have been seen without a long pause.
    since: Instant,
    /// When the last renewal was seen.
    last: Instant,
    /// A time of the server before the last renewal.
    before: u64,
}

/// The leases that count as expired: those that end after the first time and not after the second, in ms by
/// the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) after: u64,
    pub(crate) until: u64,
}

impl Evidence {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), origin: Instant::now() }
    }

    /// Records the lease that the owner of an instance asks for.
    pub(crate) fn asked_for(&self, lease: Duration) {
        self.state().asked = Some(lease);
    }

    /// The lease for adopted instances: the one last used here, or else 15 s.
    pub(crate) fn lease(&self) -> Duration {
        self.state().asked.unwrap_or(USUAL_LEASE)
    }

    /// The longest lease that anybody can have.
    pub(crate) fn longest_lease(&self) -> Duration {
        let state = self.state();
        state.longest.max(state.asked.unwrap_or(USUAL_LEASE))
    }

    /// Records when the last of all leases ends, and the server's time.
    pub(crate) fn saw_leases(&self, last: Option<u64>, now: u64) {
        let left = last.map_or(0, |last| last.saturating_sub(now));
        self.state().longest = Duration::from_millis(left);
    }

    /// Records the server's time, and returns how often its clock was set, as far as is known.
    pub(crate) fn read_clock(&self, now: u64, sent: Instant, received: Instant) -> Steps {
        let since_origin = |at: Instant| signed(millis(at.saturating_duration_since(self.origin)));
        let now_signed = signed(now);
        let (least, most) = (now_signed - since_origin(received), now_signed - since_origin(sent));
        let mut state = self.state();
        let step = match state.offset {
            Some((_, before)) if least > before + signed(STEP) => least - before,
            Some((before, _)) if most < before - signed(STEP) => most - before,
            _ => 0,
        };
        if step != 0 {
            debug!(step, "the server's clock was set, by so many ms");
            state.steps = Steps { count: state.steps.count + 1, last: step };
            let lease = state.asked.unwrap_or(USUAL_LEASE);
            let longest = state.longest.min(LONGEST_ASSUMED);
            state.hold(received, lease.max(longest));
        }
        if step != 0 || state.offset.is_none() || most - least <= signed(EXACT) {
            state.offset = Some((least, most));
        }
        if !state.heard {
            state.heard = true;
            state.began = Some((received, now));
        }
        state.steps
    }

    /// How often the server's clock was set, as far as is known.
    pub(crate) fn steps(&self) -> Steps {
        self.state().steps
    }

    /// The server's approximate time; 0 if it has never answered.
    pub(crate) fn server_now(&self) -> u64 {
        let since_origin = signed(millis(self.origin.elapsed()));
        let offset = self.state().offset;
        offset.map_or(0, |(least, _)| u64::try_from(least + since_origin).unwrap_or(0))
    }

    /// Records the result of a registration or a goodbye.
    pub(crate) fn tried_to_write<T>(&self, result: &RedisResult<T>) {
        match result {
            Ok(_) => self.writes_taken(Instant::now()),
            Err(error) => {
                let mut state = self.state();
                let refusal = Refusal::of(error);
                if refusal != Refusal::None && !state.never_wrote() {
                    state.writes = Writes::Refused;
                }
            }
        }
    }

    /// Records the result of a write, which may have been one without effect.
    ///
    /// Returns `None` if the server refuses writes only to this process, which can go on reading.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if no client can write, or this process no longer can: then perhaps no
    /// instance can renew its lease. All failures of the connection.
    pub(crate) fn wrote<T>(
        &self,
        result: RedisResult<T>,
        must_be_master: bool,
    ) -> Result<Option<T>> {
        let error = match result {
            Ok(value) => {
                self.writes_taken(Instant::now());
                return Ok(Some(value));
            }
            Err(error) => error,
        };
        let mut state = self.state();
        match Refusal::of(&error) {
            Refusal::None => return Err(error::from_redis(&error)),
            Refusal::OfUser if state.never_wrote() => {}
            Refusal::OfReplica if state.never_wrote() && !must_be_master => {}
            _ => {
                state.writes = Writes::Refused;
                let problem = error::from_redis(&error);
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("the server takes no writes: {problem}"),
                ));
            }
        }
        debug!("the server does not let this process write: {}", error::from_redis(&error));
        state.writes = Writes::Never { ask_again: Instant::now() + ASK_AGAIN };
        Ok(None)
    }

    /// Records that contact was lost: only the next write shows whether the server accepts writes.
    pub(crate) fn lost_contact(&self) {
        let mut state = self.state();
        state.renewals = None;
        if matches!(state.writes, Writes::Taken) {
            state.writes = Writes::Refused;
        }
    }

    fn writes_taken(&self, now: Instant) {
        let mut state = self.state();
        if matches!(state.writes, Writes::Refused) {
            let lease = state.asked.unwrap_or(USUAL_LEASE);
            state.hold(now, lease);
        }
        state.writes = Writes::Taken;
    }

    /// Whether a write is due to find out if the server accepts writes.
    pub(crate) fn should_write(&self) -> bool {
        match self.state().writes {
            Writes::Never { ask_again } => ask_again <= Instant::now(),
            _ => true,
        }
    }

    /// Whether this process may only read, as far as is known.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self.state().writes, Writes::Never { .. })
    }

    /// Records that leases were renewed after this time of the server.
    pub(crate) fn saw_renewals(&self, before: u64) {
        let mut state = self.state();
        let now = Instant::now();
        let apart = RENEWALS_APART + state.asked.unwrap_or(USUAL_LEASE) / 2;
        let since = state.renewals.filter(|it| now - it.last <= apart).map_or(now, |it| it.since);
        state.renewals = Some(Renewals { since, last: now, before });
    }

    /// The leases whose end proves a death to every watcher, at a time of the server.
    pub(crate) fn dead(&self, now: u64) -> Option<Span> {
        self.state().dead(Instant::now(), now)
    }

    /// The leases that are not listed, at a time of the server.
    ///
    /// Unlike those of [`dead`](Self::dead), these include leases that had run out before this process
    /// started. It knows nothing of that time, so it keeps the record, and other processes decide.
    pub(crate) fn hidden(&self, now: u64) -> Option<Span> {
        self.dead(now).map(|span| Span { after: 0, ..span })
    }

    /// How long it takes until the leases that are over by now count; `None` if only other processes can
    /// tell.
    pub(crate) fn until_judged(&self) -> Option<Duration> {
        let state = self.state();
        let now = Instant::now();
        match state.writes {
            Writes::Taken => {
                let fresh_until = state.began.map(|(at, _)| at + state.hold_of_fresh());
                let until = state.held_until.max(fresh_until).unwrap_or(now);
                Some(until.saturating_duration_since(now))
            }
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives living instances the time to renew: half a lease.
    fn hold(&mut self, now: Instant, lease: Duration) {
        self.held_until = self.held_until.max(Some(now + lease / 2));
        // Leases that had run out before this process started get that time, too.
        self.began = None;
        self.renewals = None;
    }

    fn never_wrote(&self) -> bool {
        matches!(self.writes, Writes::Unknown | Writes::Never { .. })
    }

    fn hold_of_fresh(&self) -> Duration {
        self.asked.unwrap_or(USUAL_LEASE) / 2
    }

    fn dead(&self, at: Instant, now: u64) -> Option<Span> {
        if self.held_until.is_some_and(|until| at < until) {
            return None;
        }
        let hold = self.hold_of_fresh();
        match self.writes {
            Writes::Taken => {
                let after = self.began.filter(|(began, _)| at < *began + hold);
                Some(Span { after: after.map_or(0, |(_, server)| server), until: now })
            }
            Writes::Never { .. } => {
                let seen = self
                    .renewals
                    .filter(|it| at >= it.since + hold && at <= it.last + RENEWALS_APART + hold)?;
                Some(Span { after: 0, until: seen.before.saturating_sub(millis(hold)) })
            }
            Writes::Unknown | Writes::Refused => None,
        }
    }
}

/// The lower bound, in a range of leases, of those that end after a time.
///
/// Somebody who ends a lease by hand may set it to zero, or to even less.
pub(crate) fn ends_after(time: u64) -> String {
    if time == 0 { "-inf".to_owned() } else { format!("({time}") }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
