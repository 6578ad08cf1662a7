//! The stream of events of one watcher.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use gosd_net::Rest;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::change::Position;
use crate::feed::{Contact, Feed};
use crate::limits::Slot;
use crate::log::Next;
use crate::news::Subscription;
use crate::snapshot::Reader;
use crate::wanted::Wanted;

/// The longest time between two messages to a watcher; a comment counts as one.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// When its server ends, a watcher is asked to reconnect after a random time in this range, in ms.
const RECONNECT: std::ops::Range<u32> = 200..2_000;

/// The event stream of one watcher. There is no queue for each watcher: a slow reader falls behind in the
/// log, and when the log no longer has its position, it begins again with a snapshot.
pub(crate) struct Watcher {
    feed: Arc<Feed>,
    contact: watch::Receiver<Contact>,
    /// Of the services that this watcher asked for. While others change, it sleeps.
    changes: Subscription,
    closing: watch::Receiver<Closing>,
    /// The time at which this watcher is sent away, once the server is ending.
    goes_at: Option<Instant>,
    wanted: Wanted,
    position: Option<Position>,
    resumed: bool,
    snapshot: Option<(Reader, Position)>,
    has_ended: bool,
    /// When the watcher is sent a comment, unless an event is sent before. Changes of services that the
    /// watcher did not ask for do not delay the comment.
    comment_at: Instant,
    /// After changes, until the next ones are sent.
    rest: Rest,
    _slot: Slot,
}

/// Whether the server is ending, and within which time it sends its watchers away, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    No,
    Within(Duration),
}

impl Watcher {
    /// Starts after a position if the log still has what follows it, and otherwise with a snapshot.
    pub(crate) fn new(
        feed: Arc<Feed>,
        closing: watch::Receiver<Closing>,
        wanted: Wanted,
        last_id: Option<&str>,
        slot: Slot,
    ) -> Self {
        let (contact, changes) = (feed.subscribe(), feed.changes(&wanted));
        // An event id that this server did not assign, or for other services, is ignored.
        let position = last_id.and_then(|id| wanted.position(id));
        let position = position.filter(|position| feed.log().reaches(*position));
        Self {
            feed,
            contact,
            changes,
            closing,
            goes_at: None,
            wanted,
            resumed: position.is_some(),
            position,
            snapshot: None,
            has_ended: false,
            comment_at: Instant::now() + HEARTBEAT,
            rest: Rest::over(),
            _slot: slot,
        }
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, async |mut watcher| {
            let piece = watcher.next().await?;
            watcher.comment_at = Instant::now() + HEARTBEAT;
            Some((Ok(piece), watcher))
        })
    }

    /// The next piece; `None` when the stream ends, because contact is lost or the server is closing.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.has_ended {
                return None;
            }
            if let Some((reader, at)) = &mut self.snapshot {
                // A client that reads so slowly that its snapshot was dropped has to begin again.
                if let Some(piece) = reader.piece().ok()? {
                    return Some(piece);
                }
                self.position = Some(*at);
                self.snapshot = None;
            }
            if let Some(position) = self.position.filter(|_| std::mem::take(&mut self.resumed)) {
                let text =
                    format!("event: resumed\nid: {position}{}\ndata: {{}}\n\n", self.wanted.mark());
                return Some(text.into());
            }
            self.rest.wait().await;
            // The order matters: whatever comes after this look, at the contact or at the log, wakes the
            // wait below.
            if *self.contact.borrow_and_update() != Contact::Made {
                return None;
            }
            let closing = *self.closing.borrow_and_update();
            if let Closing::Within(time) = closing {
                let turn = || Instant::now() + time.mul_f64(fastrand::f64());
                if *self.goes_at.get_or_insert_with(turn) <= Instant::now() {
                    return Some(self.goodbye());
                }
            }
            let next = self.feed.log().after(self.position, &self.wanted);
            match next {
                Next::Changes(piece, position) => {
                    self.position = Some(position);
                    if !piece.is_empty() {
                        self.rest.begin();
                        return Some(piece);
                    }
                }
                Next::Everything(reader, at) => self.snapshot = Some((reader, at)),
                Next::Nothing if self.comment_at <= Instant::now() => {
                    return Some(Bytes::from_static(b":\n\n"));
                }
                Next::Nothing => {
                    if let Ok(false) = timeout_at(self.comment_at, self.news()).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits until there may be something to send; `false` if there never will be.
    async fn news(&mut self) -> bool {
        let goes_at = self.goes_at;
        let turn = async {
            match goes_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            contact = self.contact.changed() => contact.is_ok(),
            is_news = self.changes.changed() => is_news,
            closing = self.closing.changed() => closing.is_ok(),
            () = turn => true,
        }
    }

    /// The last piece. It says when to reconnect, which is at another time for each watcher.
    fn goodbye(&mut self) -> Bytes {
        self.has_ended = true;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(text, "retry: {}\n\n", fastrand::u32(RECONNECT));
        text.into()
    }
}

#[cfg(test)]
mod farewell_tests;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use futures_util::StreamExt;
    use gosd_core::{Driver, Instance, Memory};

    use super::*;
    use crate::feed::Common;
    use crate::limits::Clients;
    use crate::peer::Peer;
    use crate::settings::Settings;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_services_that_nobody_asked_for_wake_nobody() {
        let memory = Memory::new();
        let feed = Arc::new(Feed::new(Arc::new(memory.clone()), &Common::default()));
        feed.contact().await.unwrap();
        let closing = watch::Sender::new(Closing::No);
        let wanted = Wanted::by_query(Some("service=mail"), feed.tags()).unwrap();
        let slot = Clients::new(Settings::new().limits).watcher(Peer::Unknown, 0).ok().unwrap();
        let watcher = Watcher::new(Arc::clone(&feed), closing.subscribe(), wanted, None, slot);
        let mut events = Box::pin(watcher.into_stream());
        while !events.next().await.unwrap().unwrap().ends_with(b"]}\n\n") {}
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        assert!(events.poll_next_unpin(&mut context).is_pending());
        let register = async |service| {
            let instance = Instance::new(service, "http://h").unwrap();
            memory.register(&instance, HEARTBEAT * 10).await.unwrap();
            feed.echo(instance.id(), Some(&instance.to_json())).await;
            assert!(feed.log().contains(instance.id()));
            wakes.0.load(Ordering::Relaxed)
        };
        assert_eq!(register("web").await, 0);
        assert_eq!(register("mail").await, 1);
        let put = events.next().await.unwrap().unwrap();
        assert!(put.starts_with(b"event: put\n") && put.windows(4).any(|it| it == b"mail"));
    }
}
