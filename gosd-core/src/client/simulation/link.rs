//! The driver of one process: calls and a watch that travel over its link to the database.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::database::Serving;
use super::world::{Inner, World};
use super::{Number, SERVICE, between, chance, number_of};
use crate::{Driver, Error, ErrorKind, Event, Instance, InstanceId, Result};

/// Within this time a watch notices a dead connection, by clause 9, and refused writes, by clause 15.
const NOTICE: Duration = Duration::from_secs(10);
/// Within this time a watch notices that data was lost or replaced.
const LOOK: Duration = Duration::from_secs(5);
const FAR: Duration = Duration::from_secs(86_400);

/// A broken link of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) since: Instant,
    /// Whether connections break at once, instead of falling silent.
    pub(super) noisy: bool,
    pub(super) outward: bool,
    pub(super) inward: bool,
}

#[derive(Default)]
pub(super) struct Link {
    pub(super) cut: Option<Cut>,
    /// Counts the noisy cuts, each of which breaks every connection of the process.
    pub(super) breaks: u32,
    /// The share of heartbeats that are lost.
    pub(super) loss: f64,
    /// If set, every third read fails; counts the reads.
    pub(super) failing_reads: Option<u32>,
    /// The longest delay of an answer to `list`, and below of any other message.
    pub(super) lateness: Duration,
    pub(super) latency: Duration,
    /// The delay of the next answer to `list`, if it is not random.
    pub(super) next_delay: Option<Duration>,
}

impl Link {
    /// The delay of an answer. A long answer may be late.
    fn delay(&mut self, is_long: bool) -> Duration {
        if let Some(delay) = self.next_delay.take_if(|_| is_long) {
            return delay;
        }
        up_to(if is_long && chance(0.3) { self.lateness } else { self.latency })
    }

    fn fails_to_read(&mut self) -> bool {
        self.failing_reads.as_mut().is_some_and(|reads| {
            *reads += 1;
            reads.is_multiple_of(3)
        })
    }
}

pub(super) struct SimulatedDriver {
    pub(super) world: Arc<World>,
    pub(super) number: Number,
    pub(super) is_pushed: bool,
}

/// The fate of a message.
enum Travel {
    Arrived,
    Refused,
    Lost,
}

/// The connection of a watch, and how much of the log it has yielded.
struct Watch {
    /// Whether the watch is about the service of the simulation.
    is_about: bool,
    is_connected: bool,
    /// The epoch, and how many of its changes the watch has yielded.
    position: Option<(u32, usize)>,
    generation: (u32, u32),
    notice: Duration,
    look: Duration,
    /// When the next change arrives, if it has happened already.
    arrives_at: Option<Instant>,
}

/// What the connection of a watch yields next.
enum Look {
    Item(Event, Instant),
    Broken(&'static str),
    /// Nothing until this time, unless something changes earlier.
    Nothing(Option<Instant>),
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

impl World {
    /// Sends a request to the database. While the database stands still, requests wait there.
    async fn travel_out(&self, number: Number) -> Travel {
        let delay = up_to(self.lock().link(number).latency);
        sleep(delay).await;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let inner = self.lock();
                match inner.link(number).cut {
                    Some(Cut { outward: true, noisy: true, .. }) => return Travel::Refused,
                    Some(Cut { outward: true, .. }) => return Travel::Lost,
                    _ => {}
                }
                match inner.database.serving {
                    Serving::Down => return Travel::Refused,
                    Serving::Silent => {}
                    Serving::Gone => return Travel::Lost,
                    Serving::Well | Serving::ReadOnly | Serving::Refusing => {
                        return Travel::Arrived;
                    }
                }
            }
            changed.await;
        }
    }

    async fn travel_back(&self, number: Number, delay: Duration) -> Travel {
        sleep(delay).await;
        match self.lock().link(number).cut {
            Some(Cut { inward: true, noisy: true, .. }) => Travel::Refused,
            Some(Cut { inward: true, .. }) => Travel::Lost,
            _ => Travel::Arrived,
        }
    }
}

impl SimulatedDriver {
    /// Makes a call. The request reaches the database even if the caller stands still, gives up or dies.
    async fn call<T: Send + 'static>(
        &self,
        is_long: bool,
        act: impl FnOnce(&mut Inner, Instant) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (world, number) = (Arc::clone(&self.world), self.number);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let refused = || Err(unavailable("refused"));
            let result = match world.travel_out(number).await {
                Travel::Lost => return,
                Travel::Refused => refused(),
                Travel::Arrived => {
                    let (result, delay) = {
                        let mut inner = world.lock();
                        let delay = inner.link_mut(number).delay(is_long);
                        (act(&mut inner, Instant::now()), delay)
                    };
                    world.changed.notify_waiters();
                    match world.travel_back(number, delay).await {
                        Travel::Arrived => result,
                        Travel::Refused => refused(),
                        Travel::Lost => return,
                    }
                }
            };
            // This fails if the caller has given up.
            let _ = answer.send(result);
        });
        match answered.await {
            Ok(result) => result,
            Err(_) => pending().await,
        }
    }

    async fn connect(&self) -> Result<()> {
        let travel = async {
            match self.world.travel_out(self.number).await {
                Travel::Arrived => {}
                other => return other,
            }
            let delay = up_to(self.world.lock().link(self.number).latency);
            self.world.travel_back(self.number, delay).await
        };
        let silent = timeout(between(NOTICE / 10, NOTICE), async {
            match travel.await {
                Travel::Lost => pending().await,
                other => other,
            }
        });
        match silent.await {
            Ok(Travel::Arrived) => match self.world.lock().database.serving {
                Serving::ReadOnly => Err(unavailable("no writes are taken")),
                _ => Ok(()),
            },
            Ok(_) => Err(unavailable("refused")),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "no answer")),
        }
    }

    async fn next_item(&self, watch: &mut Watch) -> Result<Event> {
        if !watch.is_connected {
            self.connect().await?;
            let (event, at, delay) = {
                let mut inner = self.world.lock();
                watch.generation = inner.generation(self.number);
                watch.notice = between(NOTICE / 10, NOTICE);
                watch.look = up_to(LOOK);
                let epoch = inner.database.epoch;
                let resumes = watch.position.is_some_and(|(before, _)| before == epoch);
                let now = Instant::now();
                let event = match resumes && chance(0.5) {
                    true => Event::Resumed,
                    false => watch.begin(&inner, now),
                };
                (event, now, inner.link_mut(self.number).delay(true))
            };
            sleep(delay).await;
            watch.is_connected = true;
            self.world.lock().hear(self.number, at);
            return Ok(event);
        }
        loop {
            let mut changed = pin!(self.world.changed.notified());
            changed.as_mut().enable();
            let look = watch.look_at(&self.world.lock(), self.number, Instant::now());
            let until = match look {
                Look::Item(event, at) => {
                    self.world.lock().hear(self.number, at);
                    return Ok(event);
                }
                Look::Broken(reason) => {
                    watch.is_connected = false;
                    return Err(unavailable(reason));
                }
                Look::Nothing(until) => until.unwrap_or_else(|| Instant::now() + FAR),
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

impl Watch {
    fn begin(&mut self, inner: &Inner, now: Instant) -> Event {
        self.position = Some((inner.database.epoch, inner.database.log.len()));
        self.arrives_at = None;
        Event::Reset(if self.is_about { inner.database.list(now) } else { Vec::new() })
    }

    fn look_at(&mut self, inner: &Inner, number: Number, now: Instant) -> Look {
        if inner.generation(number) != self.generation {
            return Look::Broken("the connection broke");
        }
        let (database, link) = (&inner.database, inner.link(number));
        let cut_since = link.cut.filter(|cut| cut.inward).map(|cut| cut.since);
        let frozen = matches!(database.serving, Serving::Silent | Serving::Gone);
        let frozen_since = frozen.then_some(database.serving_since);
        if let Some(since) = cut_since.into_iter().chain(frozen_since).min() {
            return match now >= since + self.notice {
                true => Look::Broken("nothing is heard"),
                false => Look::Nothing(Some(since + self.notice)),
            };
        }
        let mut until = None;
        if database.serving == Serving::ReadOnly {
            let noticed_at = database.serving_since + self.notice;
            if now >= noticed_at {
                return Look::Broken("no writes are taken");
            }
            until = Some(noticed_at);
        }
        let Some((epoch, next)) = self.position else { return Look::Nothing(None) };
        let next = if self.is_about { next } else { usize::MAX };
        if epoch != database.epoch {
            let noticed_at = database.epoch_since + self.look;
            return match now >= noticed_at {
                true => Look::Item(self.begin(inner, now), now),
                false => Look::Nothing(Some(noticed_at)),
            };
        }
        if let Some((at, event)) = database.log.get(next) {
            let arrives_at = *self.arrives_at.get_or_insert_with(|| *at + up_to(link.latency));
            if arrives_at <= now {
                self.arrives_at = None;
                self.position = Some((epoch, next + 1));
                return Look::Item(event.clone(), *at);
            }
            until = Some(until.map_or(arrives_at, |until| arrives_at.min(until)));
        }
        Look::Nothing(until)
    }
}

#[async_trait]
impl Driver for SimulatedDriver {
    async fn register(&self, instance: &Instance, _: Duration) -> Result<()> {
        if is_announcement(instance.id()) {
            return Ok(());
        }
        let (number, instance) = (self.number, instance.clone());
        let loss = self.world.lock().link(number).loss;
        if chance(loss) {
            self.world.lock().oracle.lose_heartbeat(number, Instant::now());
            return pending().await;
        }
        self.call(false, move |inner, now| {
            if !inner.database.takes_writes() {
                return Err(unavailable("no writes are taken"));
            }
            let gone_since = inner.database.gone_since(number, now);
            inner.database.register(number, &instance, now);
            inner.oracle.renewed(number, gone_since, now);
            Ok(())
        })
        .await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        if is_announcement(id) {
            return Ok(());
        }
        let number = number_of(id);
        self.call(false, move |inner, now| {
            if !inner.database.takes_writes() {
                return Err(unavailable("no writes are taken"));
            }
            inner.database.deregister(number, now);
            Ok(())
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        if self.world.lock().link_mut(self.number).fails_to_read() {
            return Err(unavailable("a read that fails"));
        }
        let answer = self.call(true, |inner, now| match inner.database.serving {
            Serving::Well | Serving::Refusing => Ok((inner.database.list(now), now)),
            _ => Err(unavailable("no writes are taken")),
        });
        self.world.lock().oracle.ask(self.number, Instant::now());
        let (all, at) = answer.await?;
        let mut inner = self.world.lock();
        let now = Instant::now();
        inner.oracle.answer(self.number, now - at, now);
        inner.hear(self.number, at);
        Ok(all)
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        self.is_pushed.then(|| self.items(true))
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        self.is_pushed.then(|| self.items(services.contains(SERVICE)))
    }

    fn name(&self) -> &str {
        "simulated"
    }
}

impl SimulatedDriver {
    fn items(&self, is_about: bool) -> BoxStream<'_, Result<Event>> {
        let watch = Watch {
            is_about,
            is_connected: false,
            position: None,
            generation: (0, 0),
            notice: NOTICE,
            look: LOOK,
            arrives_at: None,
        };
        Box::pin(stream::unfold(watch, async |mut watch| {
            Some((self.next_item(&mut watch).await, watch))
        }))
    }
}

fn up_to(bound: Duration) -> Duration {
    between(Duration::ZERO, bound)
}

/// Whether the record announces a goodbye. This database stores no announcements: its polling clients see
/// goodbyes late, as they see those of an older client.
fn is_announcement(id: &InstanceId) -> bool {
    id.as_str().starts_with("gosd.drain-")
}
