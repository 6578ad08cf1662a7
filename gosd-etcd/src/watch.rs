//! The watch: a snapshot, then the changes, and whether the cluster is alive meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::{
    Client, EventType, GetOptions, ResponseHeader, WatchOptions, WatchResponse, WatchStream,
};
use futures_util::stream;
use gosd_core::{BoxFuture, BoxStream, Error, ErrorKind, Event, Instance, Result};
use gosd_net::Fault;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::driver::Etcd;
use crate::messages::Messages;
use crate::{connection, error, layout};

/// How long it may take to connect and to begin a watch; the read of the snapshot may then take as long
/// again.
const BEGIN: Duration = Duration::from_secs(8);
/// How often the server is asked whether it is alive, with changes or without: changes can arrive on a
/// connection on which nothing reaches the server, not even heartbeats.
const ASK: Duration = Duration::from_secs(3);
/// How long the answers may take; so a dead connection is noticed within 9 s.
const ANSWER: Duration = Duration::from_secs(6);

/// A snapshot, and then the changes, on a separate connection.
///
/// After an error there is always a new snapshot, because etcd cannot prove that the history before and after
/// is the same: a data directory that was wiped, or restored from a backup, continues with any revision, in a
/// cluster of the same id.
pub(crate) fn follow(driver: &Etcd) -> BoxStream<'_, Result<Event>> {
    let watch = Watch { driver, follow: None, queue: VecDeque::new() };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

struct Watch<'a> {
    driver: &'a Etcd,
    follow: Option<Follow>,
    /// Events that are still to be yielded.
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

/// A watch of etcd, and the revision of the snapshot that it continues from.
struct Follow {
    messages: Messages<WatchStream>,
    snapshot: i64,
    client: Client,
    /// When the server has to be asked whether it is alive, or has to have answered.
    due_at: Instant,
    /// The questions that the server has not answered yet.
    question: Option<Question>,
}

/// Two questions that a live server answers. One is on the watch, which shows that requests arrive. The other
/// is a read that needs a majority of the cluster, without which no lease can be renewed.
struct Question {
    is_progress_due: bool,
    read: Option<BoxFuture<'static, Result<()>>>,
}

impl Follow {
    /// Begins to watch before it reads the snapshot, so that nothing between the two can be missed, whatever
    /// happens to the server meanwhile.
    async fn begin(driver: &Etcd) -> Result<(Self, Vec<Instance>)> {
        let (prefix, cluster) = (driver.keys.prefix(), &driver.cluster);
        // This bounds itself in time, because a password may have to be checked.
        let client = Box::pin(cluster.open()).await?;
        let watch = async {
            if cluster.options.credentials.is_some() {
                // A watch with an expired token only gets the answer that it is not permitted.
                let read = |client: Client| async move { majority(&client, prefix).await };
                cluster.authorized(&client, read).await.map_err(Fault::into_error)?;
            }
            let fail = |error| error::from_etcd(&error, &cluster.options);
            let options = WatchOptions::new().with_prefix();
            let mut stream =
                connection::watch(&client).watch(prefix, Some(options)).await.map_err(fail)?;
            let begun = stream.message().await.map_err(fail)?;
            intact(begun, driver)?;
            Ok(stream)
        };
        let stream = answered(BEGIN, Box::pin(watch)).await??;
        let mut kv = connection::kv(&client);
        let range = GetOptions::new().with_prefix();
        let reply = answered(BEGIN, Box::pin(kv.get(prefix, Some(range)))).await?;
        let reply = reply.map_err(|error| error::from_etcd(&error, &cluster.options))?;
        let snapshot = reply.header().map_or(0, ResponseHeader::revision);
        debug!(revision = snapshot, instances = reply.kvs().len(), "watching");
        let due_at = Instant::now() + ASK;
        let messages = Messages::new(stream);
        let follow = Self { messages, snapshot, client, due_at, question: None };
        Ok((follow, driver.decode(reply.kvs())))
    }

    /// Reads some changes, or asks whether the server is alive.
    async fn read(&mut self, driver: &Etcd, queue: &mut VecDeque<Event>) -> Result<()> {
        let fail = |error| error::from_etcd(&error, &driver.cluster.options);
        let read = self.question.as_mut().and_then(|question| question.read.as_mut());
        let message = tokio::select! {
            message = self.messages.next() => message.transpose().map_err(fail)?,
            read = async {
                match read {
                    Some(read) => read.await,
                    None => std::future::pending().await,
                }
            } => {
                read?;
                self.heard(|question| question.read = None);
                return Ok(());
            }
            () = sleep_until(self.due_at) => return self.ask(driver).await,
        };
        let response = intact(message, driver)?;
        if response.events().is_empty() {
            self.heard(|question| question.is_progress_due = false);
        } else {
            self.messages.note_changes();
        }
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
                // This includes the removal of a goodbye's key, which has no effect.
                EventType::Delete => Event::Expire(id.into()),
                EventType::Put => match layout::read(id, record.value()) {
                    Ok(Some(instance)) => Event::Put(instance),
                    Ok(None) => Event::Remove(id.into()),
                    Err(problem) => {
                        driver.skip_unreadable(&problem);
                        // A record that can no longer be read is no longer listed either, so it counts as
                        // expired.
                        Event::Expire(id.into())
                    }
                },
            });
        }
        Ok(())
    }

    /// Records an answer. After the last one, the server need not be asked for a while.
    fn heard(&mut self, note: impl FnOnce(&mut Question)) {
        let Some(question) = &mut self.question else { return };
        note(question);
        if !question.is_progress_due && question.read.is_none() {
            self.question = None;
            self.due_at = Instant::now() + ASK;
        }
    }

    /// Asks whether the server is alive, unless it has been asked and did not answer in time.
    async fn ask(&mut self, driver: &Etcd) -> Result<()> {
        if self.question.is_some() {
            return Err(silent(ANSWER));
        }
        let asked = self.messages.stream().request_progress().await;
        asked.map_err(|error| error::from_etcd(&error, &driver.cluster.options))?;
        let (client, cluster) = (self.client.clone(), driver.cluster.clone());
        let prefix = driver.keys.prefix().to_owned();
        let read = Box::pin(async move {
            // A token runs out under a watch that is well. The time for the answer includes the check of the
            // password; one that takes longer goes on, and the next connection gets its token.
            let read = async |client: Client| majority(&client, &prefix).await;
            cluster.authorized(&client, read).await.map_err(Fault::into_error)
        });
        self.question = Some(Question { is_progress_due: true, read: Some(read) });
        self.due_at = Instant::now() + ANSWER;
        Ok(())
    }
}

/// Makes a majority of the cluster confirm that it works, by a read that finds nothing.
async fn majority(client: &Client, prefix: &str) -> Result<(), etcd_client::Error> {
    client.kv_client().get(prefix, Some(GetOptions::new().with_count_only())).await.map(drop)
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
    Err(error::from_reason(response.cancel_reason(), &driver.cluster.options))
}

async fn answered<T>(within: Duration, call: impl Future<Output = T>) -> Result<T> {
    timeout(within, call).await.map_err(|_| silent(within))
}

fn silent(within: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("no answer within {within:?}; connecting again"))
}
