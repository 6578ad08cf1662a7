//! The leases of a watch: those that have run out, and those that a clock made too long.

use std::time::Duration;

use gosd_core::{Error, ErrorKind, Event, InstanceId, Result};
use redis::Value;

use super::{Failure, SLACK, Watch, within};
use crate::answers::Answers;
use crate::cursor::text;
use crate::evidence::{Span, Steps, ends_after};
use crate::look::{Look, Sample};
use crate::scripts::{BATCH, GRACE, millis};

impl Watch<'_> {
    /// Yields that the clock was set, before any event that may follow from that.
    pub(super) fn tell_of_steps(&mut self, steps: Steps) -> bool {
        if steps == self.steps {
            return false;
        }
        self.steps = steps;
        if let Some(place) = &mut self.place {
            place.announced = 0;
            place.sample = Sample::default();
            if steps.last < 0 {
                place.back = Some(place.back.unwrap_or(0) + steps.last.unsigned_abs());
            }
        }
        let by = Duration::from_millis(steps.last.unsigned_abs());
        let direction = if steps.last < 0 { "back" } else { "forward" };
        self.queue.push_back(Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the server's clock was set {direction} by {by:.1?}; no lease counts as run out \
                 until the living have renewed theirs"
            ),
        )));
        true
    }

    /// Removes expired instances, which also shows whether the server accepts writes.
    ///
    /// Returns how many; `None` if this process may not write; and the inner error if perhaps nobody can.
    pub(super) async fn prove_writes(
        &mut self,
        redis: &mut Answers,
        dead: Option<Span>,
    ) -> Result<Result<Option<usize>>, Failure> {
        let (driver, evidence) = (self.driver, &self.driver.evidence);
        if !evidence.should_write() {
            return Ok(Ok(None));
        }
        let purge = driver.scripts.purge(redis, &driver.keys, dead);
        Ok(evidence.wrote(within(SLACK, purge).await?, driver.options.is_of_master()))
    }

    /// Shortens leases that became too long while the clock was ahead; otherwise records the longest lease.
    pub(super) async fn correct_leases(
        &mut self,
        redis: &mut Answers,
        look: &Look,
    ) -> Result<(), Failure> {
        let (driver, evidence) = (self.driver, &self.driver.evidence);
        let Some(place) = &mut self.place else { return Ok(()) };
        let Some(back) = place.back else {
            evidence.saw_leases(look.last_end, look.now);
            return Ok(());
        };
        if !evidence.only_reads() {
            let longest = evidence.longest_lease();
            let keys = &driver.keys;
            while within(SLACK, driver.scripts.cut(redis, keys, longest, back)).await?? >= BATCH {}
        }
        place.back = None;
        Ok(())
    }

    /// Yields the expiries of instances that this process must not remove, which only its own watcher gets.
    pub(super) async fn announce(
        &mut self,
        redis: &mut Answers,
        dead: Span,
    ) -> Result<(), Failure> {
        let Some(place) = &mut self.place else { return Ok(()) };
        let until = dead.until.saturating_sub(millis(GRACE));
        if until <= place.announced {
            return Ok(());
        }
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(&self.driver.keys.leases).arg(ends_after(place.announced)).arg(until);
        let ids: Vec<Value> = within(SLACK, range.query_async(redis)).await??;
        let ids = ids.into_iter().filter_map(text).map(InstanceId::from);
        self.queue.extend(ids.map(|id| Ok(Event::Expire(id))));
        place.announced = until;
        Ok(())
    }
}
