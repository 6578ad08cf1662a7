use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::{
    Client, EventType, GetOptions, ResponseHeader, WatchOptions, WatchResponse, WatchStream,
};
use futures_util::stream;
use gosd_core::{BoxStream, Error, ErrorKind, Event, Instance, Result};
use tokio::time::timeout;
use tracing::debug;

use crate::driver::Etcd;
use crate::{connection, error, layout};

/// How long it may take to connect and to begin a watch, and then again to read the snapshot.
const BEGIN: Duration = Duration::from_secs(8);
/// How long a watch may be silent before the server is asked whether it is alive.
const QUIET: Duration = Duration::from_secs(4);
/// How long its answer may take; with the silence, a dead connection is noticed within 8 s.
const ANSWER: Duration = Duration::from_secs(4);

/// A snapshot, and then the changes: on a connection of its own.
///
/// After an error there is always a new snapshot, since etcd has no proof to offer that the history
/// before and after is one: a data directory that was wiped, or restored from a backup, counts its
/// revisions from where it stands, in a cluster of the same id.
pub(crate) fn follow(driver: &Etcd) -> BoxStream<'_, Result<Event>> {
    let watch = Watch { driver, follow: None, queue: VecDeque::new() };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

struct Watch<'a> {
    driver: &'a Etcd,
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
            let Some(follow) = &mut self.follow else {
                let (follow, all) = Follow::begin(self.driver).await?;
                self.follow = Some(follow);
                return Ok(Event::Reset(all));
            };
            if let Err(error) = follow.read(self.driver, &mut self.queue).await {
                self.follow = None;
                return Err(error);
            }
        }
    }
}

/// A watch of etcd, and the revision of the snapshot that it goes on from.
struct Follow {
    stream: WatchStream,
    snapshot: i64,
    /// Kept for the stream.
    _client: Client,
}

impl Follow {
    /// Begins to watch before reading the snapshot, so nothing between the two can be missed,
    /// whatever becomes of the server meanwhile.
    async fn begin(driver: &Etcd) -> Result<(Self, Vec<Instance>)> {
        let prefix = driver.keys.prefix();
        let fail = |error| error::from_etcd(&error, &driver.options);
        let watch = async {
            let client = connection::open(&driver.options).await?;
            let options = WatchOptions::new().with_prefix();
            let mut stream =
                connection::watch(&client).watch(prefix, Some(options)).await.map_err(fail)?;
            let begun = stream.message().await.map_err(fail)?;
            intact(begun, driver)?;
            Ok((client, stream))
        };
        let (client, stream) = answered(BEGIN, watch).await??;
        let mut kv = connection::kv(&client);
        let range = GetOptions::new().with_prefix();
        let reply = answered(BEGIN, kv.get(prefix, Some(range))).await?.map_err(fail)?;
        let snapshot = reply.header().map_or(0, ResponseHeader::revision);
        debug!(revision = snapshot, instances = reply.kvs().len(), "watching");
        Ok((Self { stream, snapshot, _client: client }, driver.decode(reply.kvs())))
    }

    /// Reads some changes.
    async fn read(&mut self, driver: &Etcd, queue: &mut VecDeque<Event>) -> Result<()> {
        let response = match timeout(QUIET, self.stream.message()).await {
            Ok(message) => message,
            Err(_) => {
                let ask = async {
                    self.stream.request_progress().await?;
                    self.stream.message().await
                };
                answered(ANSWER, ask).await?
            }
        };
        let response = response.map_err(|error| error::from_etcd(&error, &driver.options))?;
        let response = intact(response, driver)?;
        for change in response.events() {
            let Some(record) = change.kv().filter(|kv| kv.mod_revision() > self.snapshot) else {
                continue;
            };
            let id = match driver.keys.id(record.key()) {
                Ok(id) => id,
                Err(problem) => {
                    driver.skip_unreadable(&problem);
                    continue;
                }
            };
            queue.push_back(match change.event_type() {
                // Also when what a goodbye left is removed, which nobody misses.
                EventType::Delete => Event::Expire(id),
                EventType::Put => match layout::read(&id, record.value()) {
                    Ok(Some(instance)) => Event::Put(instance),
                    Ok(None) => Event::Remove(id),
                    Err(problem) => {
                        driver.skip_unreadable(&problem);
                        // What it was is no longer listed.
                        Event::Expire(id)
                    }
                },
            });
        }
        Ok(())
    }
}

/// Refuses what says that the watch is over.
fn intact(response: Option<WatchResponse>, driver: &Etcd) -> Result<WatchResponse> {
    let Some(response) = response else {
        return Err(Error::new(ErrorKind::Unavailable, "the server ended the watch"));
    };
    if !response.canceled() {
        return Ok(response);
    }
    if response.compact_revision() > 0 {
        let message = "the history was compacted before it was read; starting with a new snapshot";
        return Err(Error::new(ErrorKind::Unavailable, message));
    }
    Err(error::from_reason(response.cancel_reason(), &driver.options))
}

async fn answered<T>(within: Duration, call: impl Future<Output = T>) -> Result<T> {
    timeout(within, call).await.map_err(|_| {
        Error::new(ErrorKind::Timeout, format!("no answer within {within:?}; connecting anew"))
    })
}
