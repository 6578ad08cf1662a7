//! The watch: reads the log of changes on each ring of the bell, and once a second.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Error, ErrorKind, Event, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::driver::Sqlite;
use crate::store::{Mark, News};

/// How often a watcher reads without a ring of the bell: for writers that do not ring it, for expired leases,
/// and for a file that was removed.
const LOOK: Duration = Duration::from_secs(1);

/// How long after changes the next ones are read, those of the meantime together: a rollout wakes each process
/// twenty times a second at most, and one change alone is read at once.
const REST: Duration = Duration::from_millis(50);

pub(crate) fn watch(driver: &Sqlite) -> BoxStream<'_, Result<Event>> {
    let follower = Follower {
        driver,
        heard: driver.heard.subscribe(),
        mark: None,
        ahead: VecDeque::new(),
        rests_until: Instant::now(),
        has_lost: false,
    };
    Box::pin(stream::unfold(follower, async |mut follower| {
        let item = follower.next().await;
        Some((item, follower))
    }))
}

/// The position in the log, and the events that were read after it.
struct Follower<'a> {
    driver: &'a Sqlite,
    heard: watch::Receiver<()>,
    mark: Option<Mark>,
    ahead: VecDeque<Event>,
    /// When the log is read again at the earliest.
    rests_until: Instant,
    has_lost: bool,
}

impl Follower<'_> {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                return Ok(event);
            }
            sleep_until(self.rests_until).await;
            self.heard.borrow_and_update();
            let had_lost = self.has_lost;
            let is_partial = self.read().await?;
            if had_lost && !matches!(self.ahead.front(), Some(Event::Reset(_))) {
                return Ok(Event::Resumed);
            }
            if self.ahead.is_empty() && !is_partial {
                tokio::select! {
                    // This cannot fail: the driver holds the sender.
                    _ = self.heard.changed() => {}
                    () = sleep(LOOK) => {}
                }
            }
        }
    }

    /// Reads the log after the mark. Returns whether there may be more.
    async fn read(&mut self) -> Result<bool> {
        let mark = self.mark.clone();
        let news = self.driver.run(move |store| store.follow(mark.as_ref())).await;
        self.has_lost = !matches!(news, Ok(Some(_)));
        let Some(News { events, mark, is_partial }) = news? else {
            // This is a loss of contact and not a `Reset` alone, so that clients give every live instance
            // the time to register again.
            self.mark = None;
            let message = "the file or its log is another than it was: reading all again";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        self.mark = Some(mark);
        let has_changes = !matches!(events.first(), None | Some(Event::Reset(_)));
        if has_changes && !is_partial {
            self.rests_until = Instant::now() + REST;
        }
        self.ahead = events.into();
        Ok(is_partial)
    }
}
