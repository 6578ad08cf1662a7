//! The background task that keeps the view: it follows the watch, reads, and sweeps.

use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::BoxStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::guard;
use super::start::Starting;
use super::state::State;
use crate::pace::{Backoff, jittered};
use crate::{Driver, Error, ErrorKind, Event, Instance, Result};

/// With a watch, every how many refresh intervals everything is read all the same.
const INSURANCE: u32 = 12;

/// How many events of the watch become visible at once, at most: under a flood of them, each by
/// itself would have every reader load the view anew.
pub(super) const BATCH: usize = 1_024;

pub(super) type Reply = oneshot::Sender<Result<()>>;

pub(super) async fn run(
    state: Arc<State>,
    mut requests: mpsc::UnboundedReceiver<Reply>,
    starting: Starting,
) {
    let driver = Arc::clone(&state.driver);
    let mut sync = Sync::new(&state, &*driver, starting);
    while !sync.starting.has_failed() {
        let wake_at = sync.wake_at();
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => sync.queued.push(request),
                None => return,
            },
            item = next(&mut sync.stream, sync.resume_at.is_none()) => {
                if sync.on_item(item) {
                    // A watch that always has something ready would keep the thread to itself.
                    yield_now().await;
                }
            }
            read = done(&mut sync.read) => sync.on_read(read),
            () = until(wake_at) => {}
        }
        sync.on_time();
    }
}

struct Sync<'a> {
    state: &'a Arc<State>,
    driver: &'a dyn Driver,
    starting: Starting,
    /// `None` for a driver that is polled.
    stream: Option<BoxStream<'a, Result<Event>>>,
    /// The stream is left alone until then.
    resume_at: Option<Instant>,
    stream_backoff: Backoff,
    /// When the stream was last heard to be back; `None` while it is not up.
    stream_up: Option<Instant>,
    read: Option<BoxFuture<'a, Result<Vec<Instance>>>>,
    read_at: Instant,
    read_backoff: Backoff,
    /// A snapshot of the watch went before the last read.
    overtaken: bool,
    /// Who waits for the read in flight, and who for the next.
    asked: Vec<Reply>,
    queued: Vec<Reply>,
    /// How often the read in flight may still be tried for those who wait.
    attempts_left: u32,
}

impl<'a> Sync<'a> {
    fn new(state: &'a Arc<State>, driver: &'a dyn Driver, starting: Starting) -> Self {
        let interval = state.settings.refresh_interval;
        let stream = guard::watch(driver);
        let now = Instant::now();
        Self {
            state,
            driver,
            starting,
            read_at: if stream.is_some() { now + jittered(interval) } else { now },
            stream,
            resume_at: None,
            stream_backoff: Backoff::new(state.settings.lease_ttl / 3),
            stream_up: None,
            read: None,
            read_backoff: Backoff::new(interval),
            overtaken: false,
            asked: Vec::new(),
            queued: Vec::new(),
            attempts_left: 0,
        }
    }

    /// Takes the item and what is ready behind it; returns whether there may be even more.
    fn on_item(&mut self, item: Option<Result<Event>>) -> bool {
        let now = Instant::now();
        let (events, failure) = self.all_ready(item);
        let is_full = events.len() == BATCH;
        if !events.is_empty() {
            if self.stream_up.is_none() {
                self.stream_up = Some(now);
                self.read_at = now + jittered(self.state.settings.refresh_interval * INSURANCE);
            }
            self.state.apply(events);
            self.starting.succeeded();
        }
        if let Some(error) = failure {
            self.on_failure(error.at(self.driver.name(), "watch"), now);
        }
        is_full
    }

    /// The events that are ready, this one first, and the failure that comes after them.
    fn all_ready(&mut self, mut item: Option<Result<Event>>) -> (Vec<Event>, Option<Error>) {
        let mut events = Vec::new();
        loop {
            match item {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) => return (events, Some(error)),
                None => {
                    self.stream = guard::watch(self.driver);
                    let error = Error::new(ErrorKind::Unavailable, "the watch ended");
                    return (events, Some(error));
                }
            }
            if events.len() == BATCH {
                return (events, None);
            }
            match next(&mut self.stream, true).now_or_never() {
                Some(ready) => item = ready,
                None => return (events, None),
            }
        }
    }

    fn on_failure(&mut self, error: Error, now: Instant) {
        debug!(%error, "watch");
        // A stream that fails as soon as it is back is as good as one that stayed down.
        if self
            .stream_up
            .is_some_and(|since| now.duration_since(since) >= self.state.settings.lease_ttl / 3)
        {
            self.stream_backoff.reset();
        }
        self.resume_at = Some(now + self.stream_backoff.pause());
        if self.stream_up.take().is_some() {
            // Until the stream is back, the view is kept by reading.
            self.read_at = self.read_at.min(now + jittered(self.state.settings.refresh_interval));
            self.state.lose_contact(error.clone());
        } else if !self.is_kept_by_reads() {
            self.state.lose_contact(error.clone());
        }
        self.starting.failed(error);
    }

    fn on_read(&mut self, read: Result<Vec<Instance>>) {
        self.read = None;
        let now = Instant::now();
        let interval = self.state.settings.refresh_interval;
        match read {
            Ok(all) => {
                if self.state.finish_read(all) {
                    self.read_backoff.reset();
                    self.overtaken = false;
                    let is_up = self.stream_up.is_some();
                    let period = if is_up { interval * INSURANCE } else { interval };
                    self.read_at = now + jittered(period);
                    self.answer(&Ok(()));
                } else if self.overtaken {
                    // The watch may begin anew all the time.
                    self.read_at = now + self.read_backoff.pause();
                } else {
                    self.overtaken = true;
                    self.begin_read();
                }
                self.starting.succeeded();
            }
            Err(error) => {
                self.state.abandon_read();
                debug!(%error, "read");
                self.read_at = now + self.read_backoff.pause();
                if self.stream_up.is_none() {
                    self.state.lose_contact(error.clone());
                }
                if self.stream.is_none() {
                    self.starting.failed(error.clone());
                }
                self.attempts_left = self.attempts_left.saturating_sub(1);
                if self.attempts_left == 0 || !error.is_retryable() {
                    self.answer(&Err(error));
                }
            }
        }
    }

    /// Does what is due, whatever the reason for waking.
    fn on_time(&mut self) {
        let now = Instant::now();
        if self.resume_at.is_some_and(|at| at <= now) {
            self.resume_at = None;
        }
        if self.state.next_sweep().is_some_and(|at| at <= now) {
            self.state.sweep();
        }
        if self.overdue_at().is_some_and(|at| at <= now) {
            let error = Error::new(ErrorKind::Timeout, "no snapshot came in time");
            self.starting.failed(error.at(self.driver.name(), "watch"));
        }
        let wanted = self.asked.is_empty() && !self.queued.is_empty();
        if self.read.is_none() && (wanted || self.read_at <= now) {
            if self.asked.is_empty() {
                self.asked = std::mem::take(&mut self.queued);
                self.attempts_left = self.state.settings.try_refresh_amount;
            }
            self.begin_read();
        }
    }

    fn begin_read(&mut self) {
        self.state.begin_read();
        let (state, driver) = (self.state, self.driver);
        self.read = Some(state.call("list", driver.list()).boxed());
    }

    fn answer(&mut self, result: &Result<()>) {
        for reply in self.asked.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(result.clone());
        }
    }

    fn is_kept_by_reads(&self) -> bool {
        self.stream_up.is_none() && matches!(self.state.status().view, crate::View::Fresh)
    }

    fn wake_at(&self) -> Option<Instant> {
        let read_at = self.read.is_none().then_some(self.read_at);
        [read_at, self.overdue_at(), self.resume_at, self.state.next_sweep()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When a watch counts as failed for the start; a read has a bound of its own.
    fn overdue_at(&self) -> Option<Instant> {
        self.stream.as_ref().and_then(|_| self.starting.overdue_at())
    }
}

async fn next(
    stream: &mut Option<BoxStream<'_, Result<Event>>>,
    enabled: bool,
) -> Option<Result<Event>> {
    match stream {
        Some(stream) if enabled => stream.next().await,
        _ => pending().await,
    }
}

async fn done<T>(future: &mut Option<BoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
