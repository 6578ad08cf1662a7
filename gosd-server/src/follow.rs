//! Follows a driver's watch under supervision: whatever the driver does, the watch is opened again.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gosd_core::{BoxStream, Error, ErrorKind, Event, Result};
use tokio::time::{Instant, sleep};

use crate::call::panicked;

/// The pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Contact that lasted this long makes the next failure a first one.
const STEADY: Duration = Duration::from_secs(10);

/// Hands on each item of the watches that `open` makes, one watch after the other, for ever.
///
/// A watch that ends or panics is a failure as well, and handed on as an `Err`. After a failure comes
/// a pause, which grows with each until contact has lasted.
pub(crate) async fn follow<'a>(
    open: impl Fn() -> BoxStream<'a, Result<Event>>,
    mut hear: impl FnMut(Result<Event>),
) -> Infallible {
    let mut pause = PAUSES.0;
    let mut heard_since: Option<Instant> = None;
    let mut events = None;
    loop {
        let item = match &mut events {
            Some(events) => next(events).await,
            None => match std::panic::catch_unwind(AssertUnwindSafe(&open)) {
                Ok(opened) => next(events.insert(opened)).await,
                Err(_) => Item::Over(panicked()),
            },
        };
        let error = match item {
            Item::Event(event) => {
                heard_since.get_or_insert_with(Instant::now);
                hear(Ok(event));
                continue;
            }
            Item::Failure(error) => error,
            Item::Over(error) => {
                // Its destructor is the driver's code too.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| events = None));
                error
            }
        };
        hear(Err(error));
        if heard_since.take().is_some_and(|since| since.elapsed() >= STEADY) {
            pause = PAUSES.0;
        }
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// What came of waiting for an item.
enum Item {
    Event(Event),
    /// The watch goes on when it is polled again.
    Failure(Error),
    /// There is nothing more to come from this watch.
    Over(Error),
}

async fn next(events: &mut BoxStream<'_, Result<Event>>) -> Item {
    match AssertUnwindSafe(events.next()).catch_unwind().await {
        Ok(Some(Ok(event))) => Item::Event(event),
        Ok(Some(Err(error))) => Item::Failure(error),
        Ok(None) => Item::Over(Error::new(ErrorKind::Unavailable, "the watch ended")),
        Err(_) => Item::Over(panicked()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures_util::stream;
    use tokio::time::timeout;

    use super::*;

    fn reset() -> Result<Event> {
        Ok(Event::Reset(Vec::new()))
    }

    /// How often a watch was opened, and what was heard, in ten minutes.
    async fn in_ten_minutes<'a>(
        open: impl Fn(usize) -> BoxStream<'a, Result<Event>>,
    ) -> (usize, Vec<bool>) {
        let opened = Cell::new(0);
        let heard = RefCell::new(Vec::new());
        let open = || {
            opened.set(opened.get() + 1);
            open(opened.get())
        };
        let follow = follow(open, |item| heard.borrow_mut().push(item.is_ok()));
        assert!(timeout(Duration::from_secs(600), follow).await.is_err());
        (opened.get(), heard.take())
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_is_opened_again_with_growing_pauses() {
        let (opened, heard) = in_ten_minutes(|_| Box::pin(stream::iter([reset(), reset()]))).await;
        assert!((120..260).contains(&opened), "{opened} times");
        assert_eq!(heard[..6], [true, true, false, true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure_and_the_next_watch_counts() {
        let (opened, heard) = in_ten_minutes(|n| match n {
            1 => panic!("while it is opened"),
            2 => Box::pin(stream::iter([reset()]).chain(stream::poll_fn(|_| panic!("later on")))),
            _ => Box::pin(stream::iter([reset()]).chain(stream::pending())),
        })
        .await;
        assert_eq!((opened, heard), (3, vec![false, true, false, true]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_is_polled_again_and_not_opened() {
        let items = || {
            let error = || Err(Error::new(ErrorKind::Unavailable, "down"));
            stream::iter([reset(), error(), error(), reset()]).chain(stream::pending())
        };
        let (opened, heard) = in_ten_minutes(|_| Box::pin(items())).await;
        assert_eq!((opened, heard), (1, vec![true, false, false, true]));
    }
}
