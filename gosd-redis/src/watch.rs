use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Error, ErrorKind, Event, Result};
use redis::{RedisResult, Value};
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::driver::Redis;
use crate::follow::{Follow, Glance};
use crate::scripts::{BATCH, GRACE, millis};
use crate::snapshot::{Leases, START};
use crate::{error, follow, layout, snapshot};

/// How long to wait for changes at most before looking for what the stream does not tell.
const LOOK: Duration = Duration::from_secs(5);
/// How much later than that an answer may be; with it, a dead connection is noticed within 8 s.
const SLACK: Duration = Duration::from_secs(3);
/// How far apart processes begin to purge, so that mostly one finds something to do.
const JITTER: Duration = Duration::from_millis(300);
/// How many entries of the stream are read at once.
const ENTRIES: usize = 500;

/// A snapshot, and then the changes: on a connection of its own, which blocks for the stream.
pub(crate) fn watch(driver: &Redis) -> BoxStream<'_, Result<Event>> {
    let watch = Watch { driver, connection: None, follow: None, queue: VecDeque::new() };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

struct Watch<'a> {
    driver: &'a Redis,
    connection: Option<Connection>,
    /// Where the watch is, once it has read a snapshot. It survives the connection.
    follow: Option<Follow>,
    /// What has been read and not yet been asked for.
    queue: VecDeque<Event>,
}

impl Watch<'_> {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            if let Err(error) = self.advance().await {
                self.connection = None;
                if !self.queue.is_empty() {
                    // What was not told yet comes with the next snapshot.
                    self.queue.clear();
                    self.follow = None;
                }
                return Err(error);
            }
        }
    }

    async fn advance(&mut self) -> Result<()> {
        let Some(connection) = &mut self.connection else { return self.connect().await };
        let Some(follow) = &mut self.follow else {
            let reading = snapshot::read(self.driver, connection, Leases::Expired);
            let snapshot = answered(SLACK + LOOK, reading).await??;
            self.follow = Some(Follow::new(&snapshot));
            self.queue.push_back(Event::Reset(snapshot.instances));
            return Ok(());
        };
        let mut step = Step { driver: self.driver, connection, follow, queue: &mut self.queue };
        if !step.take().await? {
            self.follow = None;
            // A loss of contact, and not a `Reset` alone: the server may have lost its data, and
            // clients then give every live instance a lease to register again in.
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the stream broke off: it was trimmed, or the server lost data; reading all again",
            ));
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<()> {
        let mut connection =
            answered(SLACK + LOOK, Connection::open(&self.driver.options)).await??;
        // A server or a user that cannot do this is told of now, not after the snapshot.
        let mut trial = redis::cmd("XREAD");
        trial.arg("STREAMS").arg(&self.driver.keys.events).arg("$");
        answer(SLACK, trial.exec_async(&mut connection.redis)).await?;
        if let Some(follow) = &mut self.follow {
            let keys = &self.driver.keys;
            let glance = answer(SLACK, Glance::read(&mut connection.redis, keys, follow)).await?;
            if glance.is_overdue() {
                // As long as nobody can write, contact is not back.
                let purge = self.driver.scripts.purge(&mut connection.redis, keys);
                error::unless_refused(answered(SLACK, purge).await?)?;
            }
            if glance.is_after(follow) {
                follow.look_at = Instant::now();
                self.queue.push_back(Event::Resumed);
            } else {
                self.follow = None;
            }
        }
        self.connection = Some(connection);
        Ok(())
    }
}

/// One step along the stream.
struct Step<'a> {
    driver: &'a Redis,
    connection: &'a mut Connection,
    follow: &'a mut Follow,
    queue: &'a mut VecDeque<Event>,
}

impl Step<'_> {
    /// Returns false if the position is gone.
    async fn take(&mut self) -> Result<bool> {
        if self.follow.look_at <= Instant::now() {
            self.look().await?;
        }
        if self.queue.is_empty() { self.read().await } else { Ok(true) }
    }

    /// Looks for what the stream does not tell: leases that ran out, and what Go processes wrote.
    async fn look(&mut self) -> Result<()> {
        let glance = Glance::read(&mut self.connection.redis, &self.driver.keys, self.follow);
        let glance = answer(SLACK, glance).await?;
        // Soon again, unless all is quiet.
        self.follow.look_at = Instant::now();
        if glance.is_overdue() {
            self.expire(glance.now).await?;
        } else if glance.last != self.follow.position || !glance.is_after(self.follow) {
            // What the stream tells comes first.
        } else if self.follow.disagrees_with(&glance) {
            self.compare().await?;
        } else {
            let jitter = Duration::from_millis(fastrand::u64(..millis(JITTER)));
            let quiet = glance.lease_left().map_or(LOOK, |left| LOOK.min(left + GRACE + jitter));
            self.follow.look_at += quiet;
        }
        Ok(())
    }

    /// Purges. Where this process must not write, it tells its own consumer at least.
    async fn expire(&mut self, now: u64) -> Result<()> {
        let (redis, keys) = (&mut self.connection.redis, &self.driver.keys);
        let purge = answered(SLACK, self.driver.scripts.purge(redis, keys)).await?;
        if error::unless_refused(purge)?.is_none() {
            let until = now.saturating_sub(millis(GRACE));
            let expired = follow::expired(redis, keys, self.follow.announced, until);
            self.queue.extend(answer(SLACK, expired).await?.into_iter().map(Event::Expire));
            self.follow.announced = until;
        }
        Ok(())
    }

    /// Tells of what was changed without a word.
    async fn compare(&mut self) -> Result<()> {
        let reading = snapshot::read(self.driver, self.connection, Leases::All);
        let all = answered(SLACK + LOOK, reading).await??;
        if all.position != self.follow.position {
            // What the stream tells comes first.
            return Ok(());
        }
        self.follow.look_at += GRACE;
        let leaseless = self.follow.take_in(all, self.queue);
        // Those of gosd's own form get one lease to be renewed in.
        let (redis, keys) = (&mut self.connection.redis, &self.driver.keys);
        for ids in leaseless.chunks(BATCH) {
            let adopt = self.driver.scripts.adopt(redis, keys, ids, self.driver.lease());
            match error::unless_refused(answered(SLACK, adopt).await?)? {
                Some(adopted) => self.follow.surplus -= adopted,
                None => break,
            }
        }
        Ok(())
    }

    /// Waits for changes, until it is time to look. Returns false if the position is gone.
    async fn read(&mut self) -> Result<bool> {
        type Entries = Vec<(String, Vec<Value>)>;
        let events = &self.driver.keys.events;
        let position = &self.follow.position;
        // Zero would block for ever.
        let wait = (self.follow.look_at - Instant::now()).max(Duration::from_millis(1));
        let mut reading = redis::pipe();
        reading.cmd("XREAD").arg("COUNT").arg(ENTRIES).arg("BLOCK").arg(millis(wait));
        reading.arg("STREAMS").arg(events).arg(position);
        // Answered right after the first: only if the entry at the position is there even now,
        // nothing between it and the entries read can have been trimmed away.
        reading.cmd("XRANGE").arg(events).arg(position).arg(position);
        let reply = answer(wait + SLACK, reading.query_async(&mut self.connection.redis));
        let (streams, at_position): (Option<Vec<(String, Entries)>>, Entries) = reply.await?;
        let fields = at_position.into_iter().next().map(|(_, fields)| fields);
        if *position != START && !self.follow.is_at(fields.as_ref()) {
            return Ok(false);
        }
        self.follow.entry = fields;
        for (position, fields) in streams.into_iter().flatten().flat_map(|(_, entries)| entries) {
            self.follow.position = position;
            self.follow.entry = Some(fields.clone());
            match layout::event(follow::text_pairs(fields).collect()) {
                Ok(event) => {
                    self.follow.note(&event);
                    self.queue.push_back(event);
                }
                Err(error) => self.driver.skip_unreadable(&error),
            }
        }
        Ok(true)
    }
}

async fn answer<T>(within: Duration, call: impl Future<Output = RedisResult<T>>) -> Result<T> {
    answered(within, call).await?.map_err(|error| error::from_redis(&error))
}

async fn answered<T>(within: Duration, call: impl Future<Output = T>) -> Result<T> {
    timeout(within, call).await.map_err(|_| {
        Error::new(ErrorKind::Timeout, format!("no answer within {within:.1?}; connecting anew"))
    })
}
