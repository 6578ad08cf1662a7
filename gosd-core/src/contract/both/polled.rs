//! The watch of a side that has none: its list, read again and again.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{Driver, Error, Event, Instance, InstanceId, Result};

/// The default interval of reads, which is also a client's.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// How long a read may take: by clause 9 a dead connection is an `Err` within 10 s.
const BOUND: Duration = Duration::from_secs(5);

struct Polled<'a> {
    driver: &'a dyn Driver,
    interval: Duration,
    /// When the next read begins.
    next_at: Instant,
    /// What the last read found; `None` before the first.
    known: Option<BTreeMap<InstanceId, Instance>>,
    /// The events of that read that are still to be yielded.
    news: VecDeque<Event>,
    was_lost: bool,
}

pub(super) fn watch(driver: &dyn Driver, interval: Duration) -> BoxStream<'_, Result<Event>> {
    let polled = Polled {
        driver,
        interval,
        next_at: Instant::now(),
        known: None,
        news: VecDeque::new(),
        was_lost: false,
    };
    Box::pin(stream::unfold(polled, async |mut polled| Some((polled.next().await, polled))))
}

impl Polled<'_> {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.news.pop_front() {
                return Ok(event);
            }
            sleep_until(self.next_at).await;
            let read = timeout(BOUND, self.driver.list()).await;
            let read = read.unwrap_or_else(|_| Err(Error::unanswered(BOUND)));
            match read {
                Ok(all) => {
                    self.next_at = Instant::now() + jittered(self.interval);
                    self.compare(all);
                }
                Err(error) => {
                    // The pause before the next attempt is up to the caller.
                    self.next_at = Instant::now();
                    self.was_lost = true;
                    return Err(error);
                }
            }
        }
    }

    /// Compares the list with the last one. Like a `Reset`, a list does not say why an instance is absent.
    fn compare(&mut self, all: Vec<Instance>) {
        let now: BTreeMap<_, _> =
            all.into_iter().map(|instance| (instance.id().clone(), instance)).collect();
        match &self.known {
            Some(known) if known.keys().all(|id| now.contains_key(id)) => {
                let new = now.iter().filter(|(id, instance)| known.get(*id) != Some(*instance));
                self.news.extend(new.map(|(_, instance)| Event::Put(instance.clone())));
                if self.was_lost && self.news.is_empty() {
                    self.news.push_back(Event::Resumed);
                }
            }
            _ => self.news.push_back(Event::Reset(now.values().cloned().collect())),
        }
        self.was_lost = false;
        self.known = Some(now);
    }
}

/// The interval, give or take a tenth, so that clients do not read in step.
fn jittered(interval: Duration) -> Duration {
    // A hasher with its own random keys is random enough for this.
    let random = RandomState::new().hash_one(()) as u32;
    interval.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}
