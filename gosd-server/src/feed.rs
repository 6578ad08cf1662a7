//! The feed of one namespace: one watch and one reader of the driver for all clients, which begin when they
//! are first needed, and end when the feed is dropped.

use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use gosd_core::follow::{Follow, Followed};
use gosd_core::{Driver, Error, ErrorKind, Event, InstanceId, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::call::CALL;
use crate::listing::{Listing, Lists};
use crate::log::{Counts, Log};
use crate::news::{News, Subscription};
use crate::places::Places;
use crate::poll::Poll;
use crate::snapshot::Superseded;
use crate::task::Task;
use crate::wanted::Wanted;

/// How long a list waits for a lost contact to return, before it fails.
const BREAK: Duration = Duration::from_secs(1);

/// How long the answer to a change waits until the watch has yielded that change.
const ECHO: Duration = Duration::from_secs(1);

/// For how long after a start a registry in memory may lack living instances: the default lease, within which
/// each of them registers again.
const SETTLING: Duration = Duration::from_secs(15);

/// A watch that failed is opened again within a sixth of this. The server does not know the leases of its
/// clients, so this is the default lease.
const LEASE: Duration = Duration::from_secs(15);

/// The state that all namespaces of a server share.
#[derive(Clone, Default)]
pub(crate) struct Common {
    pub(crate) superseded: Arc<Superseded>,
    /// The keys of the entity tags of lists.
    pub(crate) tags: RandomState,
}

/// A namespace's driver, and its state as far as it is known.
pub(crate) struct Feed {
    driver: Arc<dyn Driver>,
    common: Common,
    state: Arc<State>,
    lists: Lists,
    task: OnceLock<Task>,
    opened_at: Instant,
}

/// Whether the backend is in contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contact {
    /// Nothing has been received yet.
    Unknown,
    Made,
    Lost,
}

struct State {
    log: Mutex<Log>,
    /// If both are locked, this is locked after the log.
    places: Mutex<Places>,
    /// The watch of a driver that has none.
    poll: Poll,
    contact: watch::Sender<Contact>,
    /// Notified of every change of the log.
    news: Arc<News>,
    since: Mutex<Since>,
}

/// When contact was last made or lost, and how often it was lost.
struct Since {
    at: Instant,
    losses: u64,
}

/// The health of a namespace.
pub(crate) struct Vitals {
    pub(crate) is_in_contact: bool,
    /// For how long there has been no contact.
    pub(crate) without_contact: Duration,
    pub(crate) losses: u64,
    pub(crate) instances: usize,
    pub(crate) changes: Counts,
}

impl Feed {
    pub(crate) fn new(driver: Arc<dyn Driver>, common: &Common) -> Self {
        let state = State {
            log: Mutex::new(Log::new(Arc::clone(&common.superseded))),
            places: Mutex::default(),
            poll: Poll::new(),
            contact: watch::Sender::new(Contact::Unknown),
            news: Arc::default(),
            since: Mutex::new(Since { at: Instant::now(), losses: 0 }),
        };
        Self {
            driver,
            common: common.clone(),
            state: Arc::new(state),
            lists: Lists::new(common.tags.clone()),
            task: OnceLock::new(),
            opened_at: Instant::now(),
        }
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.state.log()
    }

    /// The keys of the entity tags of lists.
    pub(crate) fn tags(&self) -> &RandomState {
        &self.common.tags
    }

    /// Whether nothing is registered here, as far as is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.log().len() == 0 && self.state.places().is_empty()
    }

    /// Reads the driver's list, unless the backend is out of contact.
    pub(crate) async fn list(&self) -> Result<Arc<Listing>> {
        let listing = self.lists.read(&self.driver, &self.common.superseded).await?;
        // A client that polls has to learn as well that no lease can be renewed at present.
        let mut contact = self.state.contact.subscribe();
        let not_lost = contact.wait_for(|contact| *contact != Contact::Lost);
        match timeout(BREAK, not_lost).await {
            Ok(Ok(_)) => Ok(listing),
            _ => Err(out_of_contact()),
        }
    }

    /// Reads like [`list`](Self::list), for a caller that forgets every instance that the list lacks. Fails
    /// unless those instances are known to be gone.
    pub(crate) async fn complete_list(&self) -> Result<Arc<Listing>> {
        if self.driver.name() == "memory" && self.opened_at.elapsed() < SETTLING {
            let message = "the registry has just started, and not everybody is back yet";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.contact().await?;
        self.list().await
    }

    /// Whether an instance may register. One that is registered may always renew.
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
        // After this time even a slow call and the lease that it may have begun have ended.
        Ok(log.contains(id) || self.state.places().take(free, id, CALL + lease))
    }

    /// Waits for a bounded time until a new watcher would see a change that was made: the instance as in this
    /// JSON, or its absence.
    pub(crate) async fn echo(&self, id: &InstanceId, json: Option<&str>) {
        let mut contact = self.subscribe();
        // A new watcher of a driver that is polled waits for a read anyway.
        if self.state.poll.is_used() {
            return;
        }
        let mut changes = self.changes(&Wanted::all());
        let is_seen = async {
            while *contact.borrow_and_update() == Contact::Made && !self.log().shows(id, json) {
                let is_over = tokio::select! {
                    changed = contact.changed() => changed.is_err(),
                    changed = changes.changed() => !changed,
                };
                if is_over {
                    return;
                }
            }
        };
        // The change is made, whether or not the watch has yielded it in time.
        let _ = timeout(ECHO, is_seen).await;
    }

    /// Notifies of the changes of the log that concern a watcher.
    pub(crate) fn changes(&self, wanted: &Wanted) -> Subscription {
        self.state.news.subscribe(wanted)
    }

    /// Notifies of contact with the backend. Begins to watch, unless that has begun.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Contact> {
        self.task.get_or_init(|| {
            Task::spawn(watch_backend(Arc::clone(&self.driver), Arc::clone(&self.state)))
        });
        self.state.contact.subscribe()
    }

    /// Waits for a bounded time until the backend has answered for the first time, or failed.
    pub(crate) async fn first_contact(&self) {
        let mut contact = self.subscribe();
        let _ = timeout(BREAK, contact.wait_for(|contact| *contact != Contact::Unknown)).await;
    }

    pub(crate) fn vitals(&self) -> Vitals {
        let is_in_contact = *self.state.contact.borrow() == Contact::Made;
        let (at, losses) = {
            let since = self.state.since();
            (since.at, since.losses)
        };
        let log = self.log();
        Vitals {
            is_in_contact,
            without_contact: if is_in_contact { Duration::ZERO } else { at.elapsed() },
            losses,
            instances: log.len(),
            changes: log.counts(),
        }
    }

    /// Waits for a bounded time until the log agrees with the backend.
    pub(crate) async fn contact(&self) -> Result<()> {
        let contact = self.subscribe();
        let caught_up = async {
            self.state.poll.catch_up().await;
            is_made(contact).await
        };
        in_time(caught_up).await
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies an event of the watch. With `is_in_part`, the watch is not wholly in contact, and the event is
    /// no proof of contact.
    fn hear(&self, driver: &str, event: Event, is_in_part: bool) {
        let mut log = self.log();
        self.places().give_back(&event);
        let concern = log.apply(event);
        drop(log);
        if !is_in_part && self.turn_to(Contact::Made) == Contact::Lost {
            info!(driver, "the backend is back");
        }
        self.news.tell(&concern);
    }

    /// Records that the watch has failed.
    fn lose(&self, driver: &str, error: &Error) {
        if self.turn_to(Contact::Lost) == Contact::Lost {
            debug!(driver, %error, "watch");
        } else {
            warn!(driver, %error, "the backend is not in contact");
        }
    }

    /// Sets the contact, and notifies the subscribers if it has changed. Returns the former contact.
    fn turn_to(&self, contact: Contact) -> Contact {
        let mut before = contact;
        self.contact.send_if_modified(|current| {
            before = std::mem::replace(current, contact);
            before != contact
        });
        if before != contact {
            let mut since = self.since();
            // A first contact that fails is no loss, and the time without contact counts from the start.
            if before == Contact::Made {
                since.losses += 1;
            }
            if before != Contact::Unknown || contact == Contact::Made {
                since.at = Instant::now();
            }
        }
        before
    }
}

async fn watch_backend(driver: Arc<dyn Driver>, state: Arc<State>) {
    let open = || Some(driver.watch().unwrap_or_else(|| state.poll.watch(&*driver)));
    let Some(mut follow) = Follow::watches(driver.name(), open, LEASE) else {
        return; // This never happens: a driver without a watch is polled.
    };
    loop {
        match follow.next().await {
            Followed::Events(events) => {
                let is_in_part = follow.has_failed();
                let hear = |event| state.hear(driver.name(), event, is_in_part);
                events.into_iter().for_each(hear);
            }
            Followed::Lost(error) => state.lose(driver.name(), &error),
        }
    }
}

async fn is_made(mut contact: watch::Receiver<Contact>) -> bool {
    contact.wait_for(|contact| *contact == Contact::Made).await.is_ok()
}

async fn in_time(contact: impl Future<Output = bool>) -> Result<()> {
    match timeout(CALL, contact).await {
        Ok(true) => Ok(()),
        _ => Err(out_of_contact()),
    }
}

fn out_of_contact() -> Error {
    Error::new(ErrorKind::Unavailable, "the backend is not in contact")
}
