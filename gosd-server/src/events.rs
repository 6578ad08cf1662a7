//! The stream of events of one watcher.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::feed::{Contact, Feed};
use crate::limits::Slot;
use crate::log::{Next, Position};
use crate::snapshot::Reader;

/// How often a watcher hears something, be it a comment.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// The time after which a watcher whose server ends is asked to reconnect, in ms.
const RECONNECT: std::ops::Range<u32> = 200..2_000;

/// What one watcher is sent. It holds no queue: a slow reader falls behind in the log, and when its
/// place is no longer there, starts anew with a snapshot.
pub(crate) struct Watcher {
    feed: Arc<Feed>,
    contact: watch::Receiver<Contact>,
    closing: watch::Receiver<Closing>,
    /// When this watcher's turn to go has come, once the server is ending.
    goes_at: Option<Instant>,
    position: Option<Position>,
    resumed: bool,
    snapshot: Option<(Reader, Position)>,
    has_ended: bool,
    _slot: Slot,
}

/// Whether the server is ending, and within which time its watchers go, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    No,
    Within(Duration),
}

impl Watcher {
    /// Starts after a position, if what follows it is still known, and else with everything.
    pub(crate) fn new(
        feed: Arc<Feed>,
        closing: watch::Receiver<Closing>,
        last_id: Option<Position>,
        slot: Slot,
    ) -> Self {
        let contact = feed.subscribe();
        let position = last_id.filter(|position| feed.log().reaches(*position));
        Self {
            feed,
            contact,
            closing,
            goes_at: None,
            resumed: position.is_some(),
            position,
            snapshot: None,
            has_ended: false,
            _slot: slot,
        }
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, async |mut watcher| Some((Ok(watcher.next().await?), watcher)))
    }

    /// The next piece; `None` when the stream ends, since contact is lost or the server is closing.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.has_ended {
                return None;
            }
            if let Some((reader, at)) = &mut self.snapshot {
                // Whoever reads too slowly for the state to be kept has to begin anew.
                if let Some(piece) = reader.piece().ok()? {
                    return Some(piece);
                }
                self.position = Some(*at);
                self.snapshot = None;
            }
            if let Some(position) = self.position.filter(|_| std::mem::take(&mut self.resumed)) {
                let text = format!("event: resumed\nid: {position}\ndata: {{}}\n\n");
                return Some(text.into());
            }
            // In this order: what comes after the look at the log wakes the wait below.
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
            let next = self.feed.log().after(self.position);
            match next {
                Next::Changes(piece, position) => {
                    self.position = Some(position);
                    return Some(piece);
                }
                Next::Everything(reader, at) => self.snapshot = Some((reader, at)),
                Next::Nothing => match timeout(HEARTBEAT, self.news()).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(_) => return Some(Bytes::from_static(b":\n\n")),
                },
            }
        }
    }

    /// Waits until there may be something to do; `false` if nothing will ever be.
    async fn news(&mut self) -> bool {
        let goes_at = self.goes_at;
        let turn = async {
            match goes_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = self.contact.changed() => news.is_ok(),
            closing = self.closing.changed() => closing.is_ok(),
            () = turn => true,
        }
    }

    /// The last piece: it says when to reconnect, which is another time for each watcher.
    fn goodbye(&mut self) -> Bytes {
        self.has_ended = true;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(text, "retry: {}\n\n", fastrand::u32(RECONNECT));
        text.into()
    }
}
