use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::feed::Feed;
use crate::limits::Slot;
use crate::log::{Next, Position, Snapshot};

/// How often a watcher hears something, be it a comment.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// What one watcher is sent. It holds no queue: a slow reader falls behind in the log, and when it
/// is no longer there, starts anew with a snapshot.
pub(crate) struct Watcher {
    feed: Arc<Feed>,
    contact: watch::Receiver<bool>,
    closing: watch::Receiver<bool>,
    position: Option<Position>,
    resumed: bool,
    snapshot: Option<Snapshot>,
    _slot: Slot,
}

impl Watcher {
    /// Starts after a position, if what follows it is still known, and else with everything.
    pub(crate) fn new(
        feed: Arc<Feed>,
        closing: watch::Receiver<bool>,
        last_id: Option<Position>,
        slot: Slot,
    ) -> Self {
        let contact = feed.subscribe();
        let position = last_id.filter(|position| feed.log().reaches(*position));
        Self {
            feed,
            contact,
            closing,
            resumed: position.is_some(),
            position,
            snapshot: None,
            _slot: slot,
        }
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, async |mut watcher| Some((Ok(watcher.next().await?), watcher)))
    }

    /// The next piece; `None` when the stream ends, since contact is lost or the server is closing.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(mut snapshot) = self.snapshot.take() {
                let (piece, last) = snapshot.piece();
                if last {
                    self.position = Some(snapshot.at);
                } else {
                    self.snapshot = Some(snapshot);
                }
                return Some(piece);
            }
            if let Some(position) = self.position.filter(|_| std::mem::take(&mut self.resumed)) {
                let text = format!("event: resumed\nid: {position}\ndata: {{}}\n\n");
                return Some(text.into());
            }
            // In this order: what comes after the look at the log wakes the wait below.
            if !*self.contact.borrow_and_update() || *self.closing.borrow_and_update() {
                return None;
            }
            let next = self.feed.log().after(self.position);
            match next {
                Next::Changes(piece, position) => {
                    self.position = Some(position);
                    return Some(piece);
                }
                Next::Everything(snapshot) => self.snapshot = Some(snapshot),
                Next::Nothing => {
                    let news = async {
                        tokio::select! {
                            news = self.contact.changed() => news.is_ok(),
                            closing = self.closing.changed() => closing.is_ok(),
                        }
                    };
                    match timeout(HEARTBEAT, news).await {
                        Ok(true) => {}
                        Ok(false) => return None,
                        Err(_) => return Some(Bytes::from_static(b":\n\n")),
                    }
                }
            }
        }
    }
}
