//! The watch: a snapshot and then the changes, with a look every few seconds at what the stream does not
//! announce.

mod leases;

use std::collections::VecDeque;
use std::time::{Duration, Instant as StdInstant};

use futures_util::stream;
use gosd_core::{BoxStream, Error, ErrorKind, Event, Result};
use gosd_net::{Lifetimes, Rest};
use redis::RedisError;
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::cursor::{Cursor, Entry};
use crate::driver::Redis;
use crate::error::Refusal;
use crate::evidence::Steps;
use crate::look::{ENTRIES, Look, Question, Sample};
use crate::scripts::{BATCH, GRACE, millis};
use crate::unannounced::{Findings, Unannounced};
use crate::{error, snapshot};

/// How long the watch waits for changes before it looks at what the stream does not announce.
const LOOK: Duration = Duration::from_secs(5);
/// How much later than that an answer may come. With it, a dead connection is noticed within 8 s.
const SLACK: Duration = Duration::from_secs(3);
/// How soon to look again at what another process may be about to do.
const SOON: Duration = Duration::from_millis(100);
/// The range of the random delay of a purge, so that usually only one process finds something to purge.
const JITTER: Duration = Duration::from_millis(300);
/// The shortest lease.
const LEAST_LEASE: Duration = Duration::from_secs(1);

/// A snapshot, and then the changes, on a separate connection, which blocks for the stream.
pub(crate) fn watch(driver: &Redis) -> BoxStream<'_, Result<Event>> {
    let watch = Watch {
        driver,
        connection: None,
        lifetimes: Lifetimes::new(),
        place: None,
        queue: VecDeque::new(),
        is_lost: false,
        look_at: Instant::now(),
        rest: Rest::over(),
        steps: Steps::default(),
    };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

struct Watch<'a> {
    driver: &'a Redis,
    connection: Option<Connection>,
    lifetimes: Lifetimes,
    /// The state of the watch, once it has read a snapshot. It outlives the connection.
    place: Option<Place>,
    /// Items that are still to be yielded.
    queue: VecDeque<Result<Event>>,
    /// Whether the watch has yielded an `Err`, and nothing since.
    is_lost: bool,
    /// When to look next.
    look_at: Instant,
    /// After changes, until the next ones are read.
    rest: Rest,
    /// The settings of the server's clock that this watch has reported.
    steps: Steps,
}

/// The state of the registry, as the watch knows it.
struct Place {
    cursor: Cursor,
    unannounced: Unannounced,
    /// Whether this watch was away since it last read the stream.
    was_away: bool,
    /// Up to when expiries have been yielded without a purge, in ms by the server's clock.
    announced: u64,
    /// How far the server's clock went back since leases were last corrected, in ms.
    back: Option<u64>,
    sample: Sample,
}

/// Why a watch cannot continue with its connection.
struct Failure {
    error: Error,
    /// Whether the connection was closed, which says little about the server.
    is_closed: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_closed: false }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self { is_closed: error.is_io_error(), error: error::from_redis(&error) }
    }
}

impl Watch<'_> {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                if item.is_err() {
                    self.is_lost = true;
                    self.look_at = Instant::now();
                }
                return item;
            }
            if let Err(failure) = self.advance().await {
                self.disconnect();
                // Servers and proxies close connections now and then. If a new one can be made, no `Err` is
                // yielded.
                if !(failure.is_closed && self.lifetimes.may_forgive()) {
                    self.driver.evidence.lost_contact();
                    self.queue.push_back(Err(failure.error));
                }
            }
        }
    }

    fn disconnect(&mut self) {
        self.connection = None;
        if let Some(place) = &mut self.place {
            place.was_away = true;
        }
    }

    async fn advance(&mut self) -> Result<(), Failure> {
        let Some(connection) = &self.connection else { return self.connect().await };
        let Some(place) = &mut self.place else {
            let snapshot = within(SLACK + LOOK, snapshot::read(self.driver, connection)).await??;
            self.place = Some(Place {
                unannounced: Unannounced::beside(&snapshot),
                cursor: Cursor::after(snapshot.position),
                was_away: false,
                announced: 0,
                back: None,
                sample: Sample::default(),
            });
            self.lifetimes.answered();
            self.steps = self.driver.evidence.steps();
            self.is_lost = false;
            self.look_at = Instant::now();
            self.queue.push_back(Ok(Event::Reset(snapshot.instances)));
            return Ok(());
        };
        if self.look_at <= Instant::now() {
            return self.look().await;
        }
        if place.unannounced.is_searching() {
            let mut redis = connection.redis.clone();
            let keys = &self.driver.keys;
            let findings = within(SLACK, place.unannounced.search(&mut redis, keys)).await??;
            if !place.unannounced.is_searching() {
                self.look_at = Instant::now();
            }
            self.take_in(findings).await?;
            if self.queue.is_empty() { self.read(Duration::from_millis(1)).await } else { Ok(()) }
        } else {
            self.read(self.look_at - Instant::now()).await
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        self.lifetimes.begin();
        let opening = Connection::open(&self.driver.options);
        let mut connection = within(SLACK + LOOK, opening).await??;
        // A server or a user that cannot do this fails now, and not after the snapshot.
        let mut trial = redis::cmd("XREAD");
        trial.arg("STREAMS").arg(&self.driver.keys.events).arg("$");
        within(SLACK, trial.exec_async(&mut connection.redis)).await??;
        self.connection = Some(connection);
        self.look_at = Instant::now();
        Ok(())
    }

    /// Looks at what the stream does not announce: whether the server accepts writes, expired leases, and
    /// unannounced changes.
    async fn look(&mut self) -> Result<(), Failure> {
        let Some(mut look) = self.ask().await? else { return Ok(()) };
        // The next look follows at once, unless a later time is set below.
        self.look_at = Instant::now();
        let is_behind = look.entries.len() >= ENTRIES;
        if !self.catch_up(&mut look)? {
            return Ok(());
        }
        let Some(connection) = &self.connection else { return Ok(()) };
        let mut redis = connection.redis.clone();
        let dead = self.driver.evidence.dead(look.now);
        let purged = match self.prove_writes(&mut redis, dead).await? {
            Ok(purged) => purged,
            Err(error) => {
                // The error comes after everything that could be read in spite of it.
                self.queue.push_back(Err(error));
                self.disconnect();
                return Ok(());
            }
        };
        if self.is_lost {
            self.is_lost = false;
            self.queue.push_front(Ok(Event::Resumed));
        }
        self.correct_leases(&mut redis, &look).await?;
        if purged.is_none()
            && let Some(dead) = dead
        {
            self.announce(&mut redis, dead).await?;
        }
        if is_behind || purged.is_some_and(|count| count > 0) {
            return Ok(());
        }
        let Some(place) = &mut self.place else { return Ok(()) };
        let findings = place.unannounced.compare(&look);
        if findings.lost {
            return Err(self.lose().into());
        }
        let is_partial = findings.is_partial;
        self.take_in(findings).await?;
        if !is_partial {
            self.look_at += self.quiet(&look);
        }
        Ok(())
    }

    /// Reads all that a look is about; `None` without a connection or a place.
    async fn ask(&mut self) -> Result<Option<Look>, Failure> {
        let (Some(connection), Some(place)) = (&self.connection, &mut self.place) else {
            return Ok(None);
        };
        let evidence = &self.driver.evidence;
        let mut redis = connection.redis.clone();
        let after = evidence.dead(evidence.server_now()).map_or(0, |span| span.after);
        let (ids, with_leases) = place.unannounced.next();
        let question = Question {
            position: place.cursor.position(),
            after: after.max(place.announced),
            ids,
            with_leases,
            renewals: evidence.only_reads().then_some(&place.sample),
        };
        let asked = Look::take(&mut redis, &self.driver.keys, question);
        match within(SLACK, asked).await? {
            Ok(look) => {
                self.lifetimes.answered();
                Ok(Some(look))
            }
            Err(error) => {
                if Refusal::of(&error) == Refusal::OfAll {
                    // Without memory Redis accepts no transaction, but goodbyes are yielded even then.
                    self.read(Duration::from_millis(1)).await?;
                }
                Err(error.into())
            }
        }
    }

    /// Applies what a look has read of the stream and of the clock; returns whether the rest of it counts.
    fn catch_up(&mut self, look: &mut Look) -> Result<bool, Failure> {
        let Some(place) = &mut self.place else { return Ok(false) };
        let is_lost = !place.cursor.is_at(look.at_position.take())
            || (place.was_away && place.cursor.may_be_lost(&look.entries));
        if is_lost {
            let error = self.lose();
            // One `Err` is enough.
            return if self.is_lost { Ok(false) } else { Err(error.into()) };
        }
        place.was_away = false;
        let evidence = &self.driver.evidence;
        let steps = evidence.read_clock(look.now, look.sent, look.received);
        let was_set = self.tell_of_steps(steps);
        if let Some(place) = self.place.as_mut().filter(|_| !was_set)
            && let Some((sample, renewed)) = look.renewals.take()
        {
            if renewed {
                evidence.saw_renewals(place.sample.taken_at);
            }
            place.sample = sample;
        }
        self.follow(std::mem::take(&mut look.entries));
        Ok(!was_set)
    }

    /// How long no look is needed after this one.
    fn quiet(&self, look: &Look) -> Duration {
        let jitter = Duration::from_millis(fastrand::u64(..millis(JITTER)));
        let Some(end) = look.next_end else { return LOOK };
        let due = end.saturating_add(millis(GRACE));
        let left = Duration::from_millis(due.saturating_sub(look.now));
        let wait = match left.is_zero() {
            false => left + jitter,
            // The lease has run out, but does not count, or not yet.
            true => self.driver.evidence.until_judged().map_or(LOOK, |wait| wait + jitter),
        };
        wait.clamp(SOON, LOOK)
    }

    /// Forgets the state, because this watch no longer knows what is registered.
    ///
    /// This is a loss of contact and not just a `Reset`: the server may have lost its data, and clients then
    /// give every living instance the time to register again.
    fn lose(&mut self) -> Error {
        self.place = None;
        Error::new(
            ErrorKind::Unavailable,
            "the server lost data, or this process was away for too long; reading all again",
        )
    }

    /// Applies unannounced changes.
    async fn take_in(&mut self, findings: Findings) -> Result<(), Failure> {
        for event in findings.events {
            match event {
                Ok(event) => self.queue.push_back(Ok(event)),
                Err(problem) => self.driver.skip_unreadable(&problem),
            }
        }
        let (driver, Some(connection)) = (self.driver, &self.connection) else { return Ok(()) };
        if driver.evidence.only_reads() {
            return Ok(());
        }
        // These instances get one lease in which to renew.
        let mut redis = connection.redis.clone();
        let lease = driver.evidence.lease();
        for ids in findings.leaseless.chunks(BATCH) {
            let adopt = driver.scripts.adopt(&mut redis, &driver.keys, ids, lease);
            driver.evidence.wrote(within(SLACK, adopt).await?, driver.options.is_of_master())?;
        }
        Ok(())
    }

    /// Applies entries of the stream.
    fn follow(&mut self, entries: Vec<Entry>) {
        let Some(place) = &mut self.place else { return };
        for entry in entries {
            match place.cursor.advance(entry) {
                Ok(event) => {
                    if let Event::Put(_) = event {
                        // The lease of this instance may be the next to run out.
                        self.look_at = self.look_at.min(Instant::now() + LEAST_LEASE);
                    }
                    place.unannounced.note(&event);
                    self.queue.push_back(Ok(event));
                }
                Err(error) => self.driver.skip_unreadable(&error),
            }
        }
    }

    /// Waits for changes, no longer than this.
    async fn read(&mut self, wait: Duration) -> Result<(), Failure> {
        self.rest.wait().await;
        let (Some(connection), Some(place)) = (&self.connection, &mut self.place) else {
            return Ok(());
        };
        let (events, position) = (&self.driver.keys.events, place.cursor.position());
        // Zero would block for ever.
        let wait = wait.max(Duration::from_millis(1));
        let mut reading = redis::pipe();
        reading.cmd("XREAD").arg("COUNT").arg(ENTRIES).arg("BLOCK").arg(millis(wait));
        reading.arg("STREAMS").arg(events).arg(position);
        // Answered right after the first command: only if the entry at the position still exists, no entry
        // between it and those read can have been trimmed.
        reading.cmd("XRANGE").arg(events).arg(position).arg(position);
        // An expiry may be due to a clock that has just been set.
        reading.cmd("TIME");
        let sent = StdInstant::now();
        let mut redis = connection.redis.clone();
        type Reply = (Option<Vec<(String, Vec<Entry>)>>, Vec<Entry>, (u64, u64));
        let reply: Reply = within(wait + SLACK, reading.query_async(&mut redis)).await??;
        let (streams, at_position, time) = reply;
        if !place.cursor.is_at(at_position.into_iter().next()) {
            return Err(self.lose().into());
        }
        let now = snapshot::millis(time);
        let steps = self.driver.evidence.read_clock(now, sent, StdInstant::now());
        self.tell_of_steps(steps);
        if let Some(streams) = streams {
            self.rest.begin();
            self.follow(streams.into_iter().flat_map(|(_, entries)| entries).collect());
        }
        Ok(())
    }
}

async fn within<T>(time: Duration, call: impl Future<Output = T>) -> Result<T> {
    timeout(time, call).await.map_err(|_| {
        Error::new(ErrorKind::Timeout, format!("no answer within {time:.1?}; connecting again"))
    })
}
