//! The oracle: which processes live, why one may be absent from the database, and what views may show.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::database::Database;
use super::life::{Life, Period, Trouble};
use super::{Number, trace};
use crate::Settings;
use crate::registry::grace;

/// The longest time from the end of a trouble until contact is good again: the time to notice a dead
/// connection, and the pauses between attempts.
const SETTLING: Duration = Duration::from_secs(20);
/// By clauses 4 and 8 a watch yields an expiry within this time, transport included.
const EXPIRY_SEEN: Duration = Duration::from_secs(2);
/// How late timers may be: they count whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

pub(super) struct Oracle {
    lease: Duration,
    timeout: Duration,
    origin: Instant,
    lives: Vec<Life>,
    /// The trouble that all processes share.
    outage: Trouble,
    outages: Vec<Period>,
    /// Further outages of a database that had just lost its data.
    relapses: Vec<Period>,
    /// The longest time that the dead stay in views of the themes in which contact always flaps.
    flap_bound: Option<Duration>,
    pub(super) failure: Option<String>,
}

impl Oracle {
    pub(super) fn new(settings: &Settings, flap_bound: Option<Duration>, now: Instant) -> Self {
        Self {
            lease: settings.lease_ttl,
            timeout: settings.timeout,
            origin: now,
            lives: Vec::new(),
            outage: Trouble { depth: 0, quiet_since: now },
            outages: Vec::new(),
            relapses: Vec::new(),
            flap_bound,
            failure: None,
        }
    }

    pub(super) fn add(&mut self, is_pushed: bool, refresh: Duration, now: Instant) {
        self.lives.push(Life::new(is_pushed, refresh, now));
    }

    pub(super) fn end(&mut self, number: Number) {
        trace(self.origin, || format!("{number} is over"));
        self.lives[number].is_over = true;
    }

    pub(super) fn begin_outage(&mut self, now: Instant) {
        self.outage.depth += 1;
        self.outages.push(Period { from: now, until: None });
        // A process that has lost a heartbeat has less time than the others to renew its lease.
        for number in 0..self.lives.len() {
            if self.lives[number].losses > 0 {
                self.excuse(number, now);
            }
        }
    }

    pub(super) fn end_outage(&mut self, at: Instant) {
        self.outage.depth -= 1;
        self.outage.quiet_since = self.outage.quiet_since.max(at);
        if let Some(outage) = self.outages.last_mut() {
            outage.until = Some(at);
        }
    }

    /// Begins another outage of a database that has just lost its data.
    pub(super) fn begin_relapse(&mut self, now: Instant) {
        self.relapses.push(Period { from: now, until: None });
    }

    pub(super) fn end_relapse(&mut self, now: Instant) {
        if let Some(relapse) = self.relapses.last_mut() {
            relapse.until.get_or_insert(now);
        }
    }

    /// Begins a trouble in which only this process does not hear the database, and perhaps is not heard.
    fn begin_trouble(&mut self, number: Number) {
        trace(self.origin, || format!("{number} is frozen or cut off"));
        self.lives[number].trouble.depth += 1;
    }

    /// Cuts a process off. If it only does not hear the answers, its heartbeats arrive, and are no less frequent.
    pub(super) fn cut(&mut self, number: Number, outward: bool, now: Instant) {
        self.begin_trouble(number);
        if outward {
            self.excuse(number, now);
        }
    }

    pub(super) fn end_trouble(&mut self, number: Number, now: Instant) {
        trace(self.origin, || format!("{number} is neither any more"));
        self.lives[number].trouble.depth -= 1;
        self.disturb(number, now);
    }

    pub(super) fn disturb(&mut self, number: Number, until: Instant) {
        let quiet_since = &mut self.lives[number].trouble.quiet_since;
        *quiet_since = until.max(*quiet_since);
    }

    pub(super) fn freeze(&mut self, number: Number, now: Instant) {
        self.begin_trouble(number);
        self.excuse(number, now);
        self.lives[number].freezes.push(Period { from: now, until: None });
    }

    pub(super) fn thaw(&mut self, number: Number, now: Instant) {
        self.end_trouble(number, now);
        if let Some(freeze) = self.lives[number].freezes.last_mut() {
            freeze.until = Some(now);
        }
    }

    /// From now until the process renews its lease, its absence is its own fault.
    pub(super) fn excuse(&mut self, number: Number, now: Instant) {
        let excuses = &mut self.lives[number].excuses;
        if excuses.last().is_none_or(|excuse| excuse.until.is_some()) {
            excuses.push(Period { from: now, until: None });
        }
    }

    pub(super) fn delete(&mut self, number: Number, now: Instant) {
        trace(self.origin, || format!("{number} is deleted"));
        self.lives[number].deletions.push(Period { from: now, until: None });
        // The process does not take its own contact for good until its record is back.
        self.disturb(number, now);
    }

    /// Records that the database took the lease of a process by mistake. Nobody may conclude anything from that
    /// before the process had its time to register again.
    pub(super) fn take_lease(&mut self, number: Number, now: Instant) {
        trace(self.origin, || format!("the lease of {number} is taken"));
        self.lives[number].takings.push(Period { from: now, until: None });
        self.disturb(number, now);
    }

    pub(super) fn lose_heartbeat(&mut self, number: Number, now: Instant) {
        trace(self.origin, || format!("{number} loses a heartbeat"));
        self.lives[number].losses += 1;
        self.disturb(number, now + self.timeout);
        let is_outage = self.outage.depth > 0 || now < self.outage.quiet_since + self.lease;
        // A lease allows for two lost heartbeats in a row, if nothing else goes wrong.
        if is_outage || self.lives[number].trouble.depth > 0 || self.lives[number].losses > 2 {
            self.excuse(number, now);
        }
    }

    /// Records that a process has renewed its lease, or has registered again if its record was absent.
    pub(super) fn renewed(&mut self, number: Number, gone_since: Option<Instant>, now: Instant) {
        trace(self.origin, || format!("{number} is renewed"));
        let life = &mut self.lives[number];
        life.losses = 0;
        life.renewals.push(now);
        if let Some(from) = gone_since
            && life.excuses.iter().any(|excuse| excuse.has(from))
        {
            life.absences.push(Period { from, until: Some(now) });
        }
        for absence in life.deletions.iter_mut().chain(&mut life.takings) {
            absence.until.get_or_insert(now);
        }
        // What a frozen process has sent before may arrive, and nothing follows.
        let is_frozen = life.freezes.last().is_some_and(|freeze| freeze.until.is_none());
        if !is_frozen && let Some(excuse) = life.excuses.last_mut() {
            excuse.until.get_or_insert(now);
        }
    }

    pub(super) fn hear(&mut self, number: Number, said_at: Instant) {
        trace(self.origin, || {
            format!("{number} hears what was said at {:?}", said_at - self.origin)
        });
        let now = Instant::now();
        self.lives[number].heard.push((said_at, now));
        self.lives[number].ever_heard.push(said_at);
    }

    /// Records that a process asks for the whole list.
    pub(super) fn ask(&mut self, number: Number, now: Instant) {
        self.lives[number].questions.push(now);
    }

    /// Records how long the answer to such a question took.
    pub(super) fn answer(&mut self, number: Number, age: Duration, now: Instant) {
        // Two answers that are so late, and the pause between them, are no good contact.
        if age > self.lease / 4 {
            self.lives[number].late.push((now, age));
        }
    }

    pub(super) fn fail(&mut self, failure: String) {
        self.failure.get_or_insert(failure);
    }

    /// Checks what a process shows after one of its steps.
    pub(super) fn check(
        &mut self,
        number: Number,
        view: BTreeSet<Number>,
        database: &Database,
        now: Instant,
    ) {
        let at = now - self.origin;
        if view != self.lives[number].seen {
            trace(self.origin, || format!("{number} shows {view:?}"));
        }
        let gone: Vec<_> = self.lives[number].seen.difference(&view).copied().collect();
        for other in gone {
            if !self.may_drop(number, other, database, now) {
                self.fail(format!("{at:?}: {number} drops {other}, which lives"));
            }
        }
        for other in &view {
            if let Some(due_at) = self.due_at(number, *other, database, now)
                && now > due_at
            {
                let late = now - due_at;
                self.fail(format!("{at:?}: {number} shows {other}, {late:?} too long"));
            }
        }
        let life = &mut self.lives[number];
        life.seen = view;
        // Of an expiry, the client concludes something only after the owner's time, which ends with the next
        // tick of the timer.
        let recent = grace(self.lease) + TICK;
        life.heard.retain(|(_, at)| now <= *at + recent);
    }

    /// Checks what all processes show when there has been no trouble for long.
    pub(super) fn check_at_the_end(&mut self, running: &[Number], found: &[Number]) {
        let found: BTreeSet<_> = found.iter().copied().collect();
        for number in running {
            let seen = self.lives[*number].seen.clone();
            if seen != found {
                self.fail(format!("at the end {number} shows {seen:?}, and {found:?} live"));
            }
        }
    }

    /// Whether an answer that the process has lately received may prove that the other is gone. No answer
    /// does from a time at which the database had the other's record.
    fn may_drop(&self, number: Number, other: Number, database: &Database, now: Instant) -> bool {
        let lacks_it = |(said_at, _): &&(Instant, Instant)| database.was_gone(other, *said_at);
        let (viewer, other) = (&self.lives[number], &self.lives[other]);
        other.is_over
            || viewer.heard.iter().filter(lacks_it).any(|(said_at, _)| {
                let within = |periods: &[Period]| periods.iter().any(|it| it.has(*said_at));
                // A process that knows it stood still has to read again before it concludes anything.
                let knows = !viewer.slept_at(*said_at, self.lease / 3);
                within(&other.deletions)
                    || other.was_slow_to_object(*said_at, grace(self.lease), now)
                    || knows && within(&other.excuses)
                    || self.could_not_know_of_the_return(viewer, other)
                    || self.missed_the_relapse(viewer, other, *said_at)
            })
    }

    /// Whether a client that polls could not know why the other has not come back. The database lost its
    /// data, and was down once more between two reads, just when the other would have come back.
    /// `docs/design.md` explains this.
    fn missed_the_relapse(&self, viewer: &Life, other: &Life, said_at: Instant) -> bool {
        !viewer.is_pushed
            && self.relapses.iter().any(|relapse| {
                let came_back = |at: &&Instant| (relapse.from..=said_at).contains(*at);
                relapse.from <= said_at
                    && !viewer.questions.iter().any(|at| relapse.has(*at))
                    && other.renewals.iter().find(came_back).is_none()
            })
    }

    /// Whether the process could not know that the other was back. It saw that the other was absent, deleted
    /// or through the other's own fault, and received nothing from after its return. If the database now
    /// loses the other's record again, the process takes that for the same absence.
    fn could_not_know_of_the_return(&self, viewer: &Life, other: &Life) -> bool {
        let absences = other.absences.iter().chain(&other.deletions).chain(&other.takings);
        absences.into_iter().any(|absence| {
            let Some(until) = absence.until else { return false };
            viewer.ever_heard.iter().any(|at| absence.has(*at))
                && !viewer.ever_heard.iter().any(|at| *at >= until && self.was_there(other, *at))
        })
    }

    /// Whether the database certainly held the record of a process at that time.
    fn was_there(&self, life: &Life, at: Instant) -> bool {
        life.renewals.iter().any(|renewed_at| {
            let holds = *renewed_at <= at && at < *renewed_at + self.lease;
            let mut losses = self.outages.iter().chain(&life.takings);
            holds && !losses.any(|loss| loss.meets(*renewed_at, at))
        })
    }

    /// When the view of a process must no longer have another one that is dead; `None` while there is no
    /// bound.
    fn due_at(
        &self,
        number: Number,
        other: Number,
        database: &Database,
        now: Instant,
    ) -> Option<Instant> {
        if !self.lives[other].is_over {
            return None;
        }
        let gone_at = database.gone_since(other, now)?;
        let viewer = &self.lives[number];
        if let Some(bound) = self.flap_bound {
            return Some(gone_at + bound);
        }
        if viewer.trouble.depth > 0 || self.outage.depth > 0 {
            return None;
        }
        let quiet_since = viewer.trouble.quiet_since.max(self.outage.quiet_since);
        let well_since = quiet_since + SETTLING;
        if viewer.is_pushed && well_since + self.lease / 2 <= gone_at {
            return Some(gone_at + EXPIRY_SEEN);
        }
        let look = viewer.refresh.mul_f64(1.1).max(self.lease / 3);
        let from = gone_at.max(well_since);
        let late = viewer.late.iter().filter(|(at, _)| *at >= gone_at);
        // Each late answer costs the good time since the answer before, and what a broken stretch loses.
        let lost: Duration = late.map(|(_, age)| *age + look + self.lease / 6).sum();
        Some(from + EXPIRY_SEEN + look + self.lease * 3 / 4 + self.timeout * 3 + lost)
    }
}
