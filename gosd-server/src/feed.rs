use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{Driver, Error, ErrorKind, Event, InstanceId, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::log::Log;
use crate::places::Places;
use crate::poll::Poll;

/// How long a call of a driver may take.
const CALL: Duration = Duration::from_secs(5);
/// The pauses before a watch of the backend is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The one watch of a namespace's backend, for all watchers. It begins when it is first needed, and
/// ends with this.
pub(crate) struct Feed {
    driver: Arc<dyn Driver>,
    state: Arc<State>,
    task: OnceLock<JoinHandle<()>>,
}

struct State {
    log: Mutex<Log>,
    /// Locked after the log, if both are.
    places: Mutex<Places>,
    /// For a driver without a watch.
    poll: Poll,
    /// Whether the backend is in contact; told of every change of the log, too.
    contact: watch::Sender<bool>,
}

impl Feed {
    pub(crate) fn new(driver: Arc<dyn Driver>) -> Self {
        let state = State {
            log: Mutex::new(Log::new()),
            places: Mutex::default(),
            poll: Poll::new(),
            contact: watch::Sender::new(false),
        };
        Self { driver, state: Arc::new(state), task: OnceLock::new() }
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.state.log()
    }

    /// Begins to watch the backend, unless that is done.
    pub(crate) fn start(&self) {
        self.task.get_or_init(|| {
            tokio::spawn(follow(Arc::clone(&self.driver), Arc::clone(&self.state)))
        });
    }

    /// Lets an instance in, unless it would be one too many; who is there may stay.
    pub(crate) async fn admit(
        &self,
        limit: usize,
        id: &InstanceId,
        lease: Duration,
    ) -> Result<bool> {
        let contact = self.subscribe();
        if !self.log().has_begun() {
            in_time(is_made(contact)).await?;
        }
        let log = self.log();
        let free = limit.saturating_sub(log.len());
        // By then a call that is slow has ended, too, and so has what it registered.
        Ok(log.contains(id) || self.state.places().take(free, id, CALL + lease))
    }

    /// Tells of changes, and with `false` that contact with the backend is lost.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.start();
        self.state.contact.subscribe()
    }

    /// Waits, but not for long, until the log is what the backend has.
    pub(crate) async fn contact(&self) -> Result<()> {
        let contact = self.subscribe();
        let caught_up = async {
            self.state.poll.catch_up().await;
            is_made(contact).await
        };
        in_time(caught_up).await
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, event: Event) {
        let mut log = self.log();
        self.places().give_back(&event);
        let changed = log.apply(event);
        drop(log);
        self.contact.send_if_modified(|contact| !std::mem::replace(contact, true) || changed);
    }

    /// Says whether this is news.
    fn lose_contact(&self) -> bool {
        self.contact.send_if_modified(|contact| std::mem::replace(contact, false))
    }
}

async fn follow(driver: Arc<dyn Driver>, state: Arc<State>) {
    let name = driver.name();
    let mut pause = PAUSES.0;
    loop {
        let mut events = driver.watch().unwrap_or_else(|| state.poll.watch(&*driver));
        while let Some(item) = events.next().await {
            match item {
                Ok(event) => {
                    if pause > PAUSES.0 {
                        info!(driver = name, "the backend is back");
                        pause = PAUSES.0;
                    }
                    state.apply(event);
                    continue;
                }
                Err(error) if state.lose_contact() => {
                    warn!(driver = name, %error, "the backend is not in contact");
                }
                Err(error) => debug!(driver = name, %error, "watch"),
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        state.lose_contact();
        sleep(pause).await;
    }
}

async fn is_made(mut contact: watch::Receiver<bool>) -> bool {
    contact.wait_for(|contact| *contact).await.is_ok()
}

async fn in_time(contact: impl Future<Output = bool>) -> Result<()> {
    match timeout(CALL, contact).await {
        Ok(true) => Ok(()),
        _ => Err(Error::new(ErrorKind::Unavailable, "the backend is not in contact")),
    }
}

/// Bounds a driver's call in time, and names the driver in its error.
pub(crate) async fn bounded<T>(
    driver: &dyn Driver,
    operation: &str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let late = || Err(Error::new(ErrorKind::Timeout, format!("no answer within {CALL:?}")));
    let result = timeout(CALL, call).await.unwrap_or_else(|_| late());
    result.map_err(|error| error.at(driver.name(), operation))
}
