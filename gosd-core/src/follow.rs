//! Supervised calls of a driver, and a supervised watch: bounded in time, and safe against a driver that
//! panics, hangs or ends its stream.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

use crate::pace::Backoff;
use crate::{Driver, Error, Event, Result};

/// How many events are applied together at most. They are batched because each publication of the
/// view makes every reader load it again.
pub(crate) const BATCH: usize = 1_024;

/// Runs one call of a driver, bounded in time. Its error names the operation.
///
/// A panic, in the call or while its future is made, becomes an error, so that the call is retried.
///
/// If the caller stops waiting, the driver's future is dropped, as it is after `bound`. By then the call may have had
/// its effect or not, and the methods of a [`Driver`] promise that it is one of the two.
///
/// # Errors
///
/// The driver's error, [`Timeout`](crate::ErrorKind::Timeout) after `bound`, and
/// [`Unavailable`](crate::ErrorKind::Unavailable) for a panic.
pub async fn call<T, F: Future<Output = Result<T>>>(
    driver: &dyn Driver,
    operation: &str,
    bound: Duration,
    make: impl FnOnce() -> F,
) -> Result<T> {
    let called = async { make().await };
    let caught = AssertUnwindSafe(called).catch_unwind();
    let result = match timeout(bound, caught).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Error::panicked()),
        Err(_) => Err(Error::unanswered(bound)),
    };
    result.map_err(|error| error.at(driver.name(), operation))
}

/// Follows a driver's watch for as long as it is polled, whatever happens to the stream.
///
/// It waits between attempts, longer each time, and opens a stream again that ended or panicked.
pub struct Follow<'a> {
    /// The driver's name, for errors.
    name: &'a str,
    open: Open<'a>,
    /// `None` after the stream ended, until it is opened again.
    stream: Option<BoxStream<'a, Result<Event>>>,
    /// The stream is not polled before this.
    resume_at: Option<Instant>,
    /// Since when the watch has been up; `None` while it is down.
    up_since: Option<Instant>,
    backoff: Backoff,
    /// A stream that stayed up for this long resets the backoff when it fails.
    settled: Duration,
    /// A failure that was ready together with events, to be returned after them.
    failure: Option<Error>,
    /// Whether the last batch was full, so that more may be ready. Other tasks get the thread first.
    is_full: bool,
}

/// Opens a watch; returns `None` if the driver has to be polled.
type Open<'a> = Box<dyn Fn() -> Option<BoxStream<'a, Result<Event>>> + Send + 'a>;

/// The result of [`Follow::next`].
#[derive(Debug)]
pub enum Followed {
    /// Events that were ready together, in their order; never none.
    Events(Vec<Event>),
    /// Contact is lost.
    Lost(Error),
}

impl<'a> Follow<'a> {
    /// Begins to follow; `None` for a driver that has to be polled.
    ///
    /// No pause between two attempts is longer than a sixth of the lease, or 5 s.
    pub fn new(driver: &'a dyn Driver, lease: Duration) -> Option<Self> {
        Self::watches(driver.name(), move || driver.watch(), lease)
    }

    /// Begins to follow the watches that a function opens, for callers that replace a driver without a watch;
    /// `None` if the function opens none.
    ///
    /// `name` is the driver's, for errors. The pauses are as for [`new`](Self::new).
    pub fn watches(
        name: &'a str,
        open: impl Fn() -> Option<BoxStream<'a, Result<Event>>> + Send + 'a,
        lease: Duration,
    ) -> Option<Self> {
        let open: Open<'a> = Box::new(open);
        let stream = match opened(&open) {
            Ok(Some(stream)) => Some(stream),
            Ok(None) => return None,
            Err(_) => None,
        };
        // A watch that panicked when it was opened is opened again after a pause.
        let failure = stream.is_none().then(Error::panicked);
        Some(Self {
            name,
            open,
            stream,
            resume_at: None,
            up_since: None,
            backoff: Backoff::of_lease(lease),
            settled: lease / 3,
            failure,
            is_full: false,
        })
    }

    /// Whether events come, as far as known.
    pub fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// Whether a failure came right behind the events that [`next`](Follow::next) returned last.
    ///
    /// A driver over several databases reports in this way that it has contact with one of them and not with
    /// another. Its events count, but do not prove contact.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Gives the present stream up, so that the next one is opened anew.
    pub(crate) fn open_anew(&mut self) {
        self.stream = None;
    }

    /// Waits for the next events or failure. Cancel-safe.
    pub async fn next(&mut self) -> Followed {
        if std::mem::take(&mut self.is_full) {
            yield_now().await;
        }
        if let Some(error) = self.failure.take() {
            return self.lost(error);
        }
        if let Some(at) = self.resume_at {
            sleep_until(at).await;
            self.resume_at = None;
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => match opened(&self.open) {
                Ok(Some(stream)) => none.insert(stream),
                Ok(None) => return self.lost(Error::watch_ended()),
                Err(error) => return self.lost(error),
            },
        };
        let mut item = polled(stream).await;
        let mut events = Vec::new();
        loop {
            match item {
                Ok(Some(Ok(event))) => events.push(event),
                Ok(Some(Err(error))) => {
                    self.failure = Some(error);
                    break;
                }
                Ok(None) => {
                    (self.stream, self.failure) = (None, Some(Error::watch_ended()));
                    break;
                }
                Err(error) => {
                    (self.stream, self.failure) = (None, Some(error));
                    break;
                }
            }
            if events.len() == BATCH {
                self.is_full = true;
                break;
            }
            match polled(stream).now_or_never() {
                Some(ready) => item = ready,
                None => break,
            }
        }
        match self.failure.take_if(|_| events.is_empty()) {
            Some(error) => self.lost(error),
            None => {
                self.up_since.get_or_insert_with(Instant::now);
                Followed::Events(events)
            }
        }
    }

    fn lost(&mut self, error: Error) -> Followed {
        // A stream that fails as soon as it is back counts as one that stayed down.
        if self.up_since.take().is_some_and(|since| since.elapsed() >= self.settled) {
            self.backoff.reset();
        }
        self.resume_at = Some(Instant::now() + self.backoff.pause());
        Followed::Lost(error.at(self.name, "watch"))
    }
}

impl fmt::Debug for Follow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("driver", &self.name)
            .field("up_since", &self.up_since)
            .finish_non_exhaustive()
    }
}

fn opened<'a>(open: &Open<'a>) -> Result<Option<BoxStream<'a, Result<Event>>>> {
    catch_unwind(AssertUnwindSafe(open)).map_err(|_| Error::panicked())
}

/// The next item; an error if the stream panicked, which must not be polled again.
async fn polled(stream: &mut BoxStream<'_, Result<Event>>) -> Result<Option<Result<Event>>> {
    AssertUnwindSafe(stream.next()).catch_unwind().await.map_err(|_| Error::panicked())
}
