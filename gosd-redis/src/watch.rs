use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Error, ErrorKind, Event, Result};
use redis::{RedisResult, Value};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::connection::Connection;
use crate::driver::Redis;
use crate::follow::{Follow, Glance};
use crate::scripts::{BATCH, GRACE};
use crate::snapshot::START;
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
            let (follow, event) = begin(connection, self.driver).await?;
            self.follow = Some(follow);
            self.queue.push_back(event);
            return Ok(());
        };
        let intact = (Instant::now() < follow.look_at
            || look(connection, self.driver, follow, &mut self.queue).await?)
            && read(connection, self.driver, follow, &mut self.queue).await?;
        if !intact {
            // Something is missing between what is known and what comes next.
            debug!(
                namespace = self.driver.options.namespace,
                "the stream broke off; starting again"
            );
            self.follow = None;
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
            if resume(&mut connection, self.driver, follow).await? {
                self.queue.push_back(Event::Resumed);
            } else {
                self.follow = None;
            }
        }
        self.connection = Some(connection);
        Ok(())
    }
}

async fn begin(connection: &mut Connection, driver: &Redis) -> Result<(Follow, Event)> {
    let raw = answer(SLACK + LOOK, snapshot::read(&mut connection.redis, &driver.keys)).await?;
    let snapshot = raw.decode(|problem| driver.skip_unreadable(problem));
    let follow = Follow::new(snapshot.position, snapshot.foreign);
    Ok((follow, Event::Reset(snapshot.instances)))
}

/// Whether the stream can be followed on after the connection was lost.
async fn resume(connection: &mut Connection, driver: &Redis, follow: &mut Follow) -> Result<bool> {
    let glance = answer(SLACK, Glance::read(&mut connection.redis, &driver.keys, follow)).await?;
    follow.look_at = Instant::now();
    Ok(if follow.position == START { glance.last == START } else { glance.position_exists })
}

/// Looks for what the stream does not tell: leases that ran out, and what Go processes wrote.
///
/// Returns false if the position is gone.
async fn look(
    connection: &mut Connection,
    driver: &Redis,
    follow: &mut Follow,
    queue: &mut VecDeque<Event>,
) -> Result<bool> {
    let redis = &mut connection.redis;
    let glance = answer(SLACK, Glance::read(redis, &driver.keys, follow)).await?;
    if follow.position != START && !glance.position_exists {
        return Ok(false);
    }
    // Soon again, unless all is quiet.
    follow.look_at = Instant::now();
    if glance.lease_over_for().is_some_and(|over| over >= GRACE) {
        expire(connection, driver, follow, &glance, queue).await
    } else if glance.last != follow.position {
        // What the stream tells comes first.
        Ok(true)
    } else if follow.disagrees_with(&glance) {
        compare(connection, driver, follow, queue).await
    } else {
        let jitter = Duration::from_millis(fastrand::u64(..JITTER.as_millis() as u64));
        follow.look_at += glance.lease_left().map_or(LOOK, |left| LOOK.min(left + GRACE + jitter));
        Ok(true)
    }
}

/// Purges. Where this process must not write, it tells its own consumer at least.
async fn expire(
    connection: &mut Connection,
    driver: &Redis,
    follow: &mut Follow,
    glance: &Glance,
    queue: &mut VecDeque<Event>,
) -> Result<bool> {
    let redis = &mut connection.redis;
    match may_fail(answered(SLACK, driver.scripts.purge(redis, &driver.keys)).await?)? {
        // They come by the stream.
        Some(_) => {}
        None => {
            let until = glance.now - GRACE.as_millis() as u64;
            let read = follow::expired(redis, &driver.keys, follow.announced, until);
            queue.extend(answer(SLACK, read).await?.into_iter().map(Event::Expire));
            follow.announced = until;
        }
    }
    Ok(true)
}

async fn compare(
    connection: &mut Connection,
    driver: &Redis,
    follow: &mut Follow,
    queue: &mut VecDeque<Event>,
) -> Result<bool> {
    let redis = &mut connection.redis;
    let all = answer(SLACK + LOOK, follow::Everything::read(redis, &driver.keys)).await?;
    if all.position() != follow.position {
        return Ok(true);
    }
    follow.look_at += GRACE;
    let leaseless = follow.take_in(all, queue, |problem| driver.skip_unreadable(problem));
    // Those of gosd's own form get one lease to be renewed in.
    for ids in leaseless.chunks(BATCH) {
        let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
        let adopt = driver.scripts.adopt(redis, &driver.keys, &ids, driver.lease());
        match may_fail(answered(SLACK, adopt).await?)? {
            Some(adopted) => follow.surplus -= adopted,
            None => break,
        }
    }
    Ok(true)
}

/// Waits for changes, until it is time to look. Returns false if the position is gone.
async fn read(
    connection: &mut Connection,
    driver: &Redis,
    follow: &mut Follow,
    queue: &mut VecDeque<Event>,
) -> Result<bool> {
    if !queue.is_empty() {
        return Ok(true);
    }
    // Zero would block for ever.
    let wait = (follow.look_at - Instant::now()).max(Duration::from_millis(1));
    type Entries = Vec<(String, Vec<(String, Vec<Value>)>)>;
    // The second command is answered right after the first: only if the entry at the position is
    // there even now, nothing between it and the entries read can have been trimmed away.
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("XREAD")
        .arg("COUNT")
        .arg(ENTRIES)
        .arg("BLOCK")
        .arg(wait.as_millis() as u64)
        .arg("STREAMS")
        .arg(&driver.keys.events)
        .arg(&follow.position)
        .cmd("XRANGE")
        .arg(&driver.keys.events)
        .arg(&follow.position)
        .arg(&follow.position);
    let reading = pipeline.query_async(&mut connection.redis);
    let (streams, at_position): (Option<Entries>, Vec<Value>) =
        answer(wait + SLACK, reading).await?;
    if at_position.is_empty() && follow.position != START {
        return Ok(false);
    }
    for (position, fields) in streams.into_iter().flatten().flat_map(|(_, entries)| entries) {
        follow.position = position;
        let fields = snapshot::pairs(fields, |problem| driver.skip_unreadable(problem));
        match layout::event(fields.collect()) {
            Ok(event) => {
                follow.note(&event);
                queue.push_back(event);
            }
            Err(error) => driver.skip_unreadable(&error),
        }
    }
    Ok(true)
}

/// A server that refuses to write is no reason to stop reading: `None`.
fn may_fail<T>(result: RedisResult<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.clone().into_server_errors().is_some() => {
            debug!("the server does not let this process purge: {}", error::from_redis(&error));
            Ok(None)
        }
        Err(error) => Err(error::from_redis(&error)),
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
