//! Ejection: which instances failed requests of this process, and for how long they are out of rotation.
//!
//! Ejection goes by counts, because with two or three instances no percentage is ever reached. This is a
//! plain state machine: the time is passed in, and so is the number of the service's instances.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::InstanceId;
use crate::pace::up_to;

/// The longest time out of rotation, unless the settings ask for more.
const LONGEST: Duration = Duration::from_secs(60);

/// How a request to an instance went, for [`Client::report`](crate::Client::report).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The instance answered, whatever the answer was: an error such as 500 is an answer.
    Answered,
    /// The instance could not be reached, or the connection broke before it answered.
    Unreachable,
    /// The instance, or a proxy in front of it, answered that it cannot serve now: 502, 503 or 504, or
    /// UNAVAILABLE in gRPC.
    Refused,
}

/// The instances with failures. An instance that is not here has none.
pub(super) struct Ejection {
    /// This many failures in a row eject an instance; 0 means never.
    after: u32,
    time: Duration,
    failing: HashMap<InstanceId, Failing>,
    /// Services all of whose instances failed, none of which has answered since.
    cut_off: HashSet<Arc<str>>,
    total: u64,
}

struct Failing {
    service: Arc<str>,
    /// How many requests in a row have failed since the instance was last in rotation.
    failures: u32,
    /// How often the instance was ejected without an answer in between. If it is above zero, the instance is
    /// on probation while it is in rotation.
    ejections: u32,
    /// Until when the instance is out of rotation.
    until: Option<Instant>,
}

/// The numbers of a service's instances that are not drained.
#[derive(Clone, Copy)]
pub(super) struct Census {
    pub(super) in_rotation: usize,
    pub(super) ejected: usize,
}

/// The consequence of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    Ejected,
    /// All instances failed, so this process is cut off: all instances of the service come back.
    CutOff,
}

impl Ejection {
    pub(super) fn new(after: u32, time: Duration) -> Self {
        Self { after, time, failing: HashMap::new(), cut_off: HashSet::new(), total: 0 }
    }

    /// Whether no instance has failures, so that an answer changes nothing.
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

    /// Records that an instance answered, which clears its failures.
    pub(super) fn answered(&mut self, id: &InstanceId, service: &str) {
        self.failing.remove(id);
        self.cut_off.remove(service);
    }

    /// Records that an instance has changed or is gone, which clears its failures.
    pub(super) fn forget(&mut self, id: &InstanceId) {
        self.failing.remove(id);
    }

    /// Records that a service has no instance in rotation any more, which clears the failures of all.
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
        // With jitter, so that the clients of a fleet do not try the instance again at the same moment.
        it.until = Some(now + time + up_to(time / 5));
        it.failures = 0;
        it.ejections += 1;
        self.total += 1;
        Verdict::Ejected
    }

    /// Returns all instances whose time is over, on probation: the next failure ejects them again.
    pub(super) fn readmit_due(&mut self, now: Instant) -> Vec<InstanceId> {
        self.readmit(|until| until <= now)
    }

    /// Returns all instances that are out of rotation.
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
