//! Whom the reports of this process speak against, and for how long.
//!
//! It goes by counts, for with two or three instances no percentage ever fires. A plain state machine:
//! the time is handed in, and so is how many instances of the service there are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::InstanceId;
use crate::pace::up_to;

/// An instance is left out for no longer than this at a time, unless the settings ask for more.
const LONGEST: Duration = Duration::from_secs(60);

/// How a request to an instance went, for [`Client::report`](crate::Client::report).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It answered, whatever the answer was: an error of its own, such as 500, is an answer.
    Answered,
    /// It could not be reached, or broke off before it answered.
    Unreachable,
    /// It, or what stands in front of it, said that it does not serve now: 502, 503 or 504, or
    /// UNAVAILABLE in gRPC.
    Refused,
}

/// What is known of the instances with failures; of all others nothing.
pub(super) struct Ejection {
    /// This many failures in a row eject an instance; 0 means never.
    after: u32,
    time: Duration,
    failing: HashMap<InstanceId, Failing>,
    /// Services of which everybody failed, and nobody has answered since.
    cut_off: HashSet<Arc<str>>,
    total: u64,
}

struct Failing {
    service: Arc<str>,
    /// How many requests in a row have failed, since it was last in rotation.
    failures: u32,
    /// How often it has been ejected without an answer in between. If it has been, it is on probation
    /// while it is in rotation.
    ejections: u32,
    /// Until when it is out of rotation.
    until: Option<Instant>,
}

/// How many instances of a service there are that are not drained.
#[derive(Clone, Copy)]
pub(super) struct Census {
    pub(super) in_rotation: usize,
    pub(super) ejected: usize,
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    Ejected,
    /// Everybody failed, so it is this process that is cut off: all of the service come back.
    CutOff,
}

impl Ejection {
    pub(super) fn new(after: u32, time: Duration) -> Self {
        Self { after, time, failing: HashMap::new(), cut_off: HashSet::new(), total: 0 }
    }

    /// Whether nothing speaks against anybody, so that an answer is no news.
    pub(super) fn is_idle(&self) -> bool {
        self.failing.is_empty() && self.cut_off.is_empty()
    }

    pub(super) fn is_ejected(&self, id: &InstanceId) -> bool {
        self.failing.get(id).is_some_and(|it| it.until.is_some())
    }

    /// The services with failures.
    pub(super) fn services(&self) -> HashSet<Arc<str>> {
        let failing = self.failing.values().map(|it| &it.service);
        failing.chain(&self.cut_off).cloned().collect()
    }

    /// How many ejections there have been.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// When the next instance is due to come back.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.failing.values().filter_map(|it| it.until).min()
    }

    /// Notes that an instance answered: nothing speaks against it any more.
    pub(super) fn answered(&mut self, id: &InstanceId, service: &str) {
        self.failing.remove(id);
        self.cut_off.remove(service);
    }

    /// Notes that an instance is not what it was, or is gone: what happened before does not count.
    pub(super) fn forget(&mut self, id: &InstanceId) {
        self.failing.remove(id);
    }

    /// Notes that a service has nobody in rotation any more: nothing speaks against anybody of it.
    pub(super) fn forget_service(&mut self, service: &str) {
        self.cut_off.remove(service);
        self.failing.retain(|_, it| *it.service != *service);
    }

    /// Counts a failure of an instance in rotation.
    pub(super) fn failed(
        &mut self,
        id: &InstanceId,
        service: &Arc<str>,
        outcome: Outcome,
        census: Census,
        now: Instant,
    ) -> Verdict {
        if self.after == 0 || self.cut_off.contains(service) {
            return Verdict::Stays;
        }
        let it = self.failing.entry(id.clone()).or_insert_with(|| Failing {
            service: Arc::clone(service),
            failures: 0,
            ejections: 0,
            until: None,
        });
        it.failures = it.failures.saturating_add(1);
        let is_on_probation = it.ejections > 0;
        if it.until.is_some() || (it.failures < self.after && !is_on_probation) {
            return Verdict::Stays;
        }
        if census.in_rotation <= 1 {
            self.failing.retain(|_, it| it.service != *service);
            self.cut_off.insert(Arc::clone(service));
            return Verdict::CutOff;
        }
        // A service that refuses because it is overloaded must not be squeezed onto a few.
        let failing = self.failing.values().filter(|it| it.service == *service).count();
        if outcome == Outcome::Refused && 2 * failing > census.in_rotation + census.ejected {
            return Verdict::Stays;
        }
        let Some(it) = self.failing.get_mut(id) else { return Verdict::Stays };
        let longest = LONGEST.max(self.time);
        let time = self.time.saturating_mul(1 << it.ejections.min(16)).min(longest);
        // With jitter, so that a fleet of clients does not try it again at one moment.
        it.until = Some(now + time + up_to(time / 5));
        it.failures = 0;
        it.ejections += 1;
        self.total += 1;
        Verdict::Ejected
    }

    /// Has everybody back whose time is over, on probation: the next failure ejects them again.
    pub(super) fn readmit_due(&mut self, now: Instant) -> Vec<InstanceId> {
        self.readmit(|until| until <= now)
    }

    /// Has everybody back who is out of rotation.
    pub(super) fn readmit_all(&mut self) -> Vec<InstanceId> {
        self.readmit(|_| true)
    }

    fn readmit(&mut self, is_due: impl Fn(Instant) -> bool) -> Vec<InstanceId> {
        let due = self.failing.iter_mut().filter(|(_, it)| it.until.is_some_and(&is_due));
        due.map(|(id, it)| {
            it.until = None;
            id.clone()
        })
        .collect()
    }
}
