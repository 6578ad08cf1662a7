//! The state that the client's handles and its background tasks share.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tracing::debug;

use super::asked::Asked;
use super::lookup::Lookups;
use super::registration::Contest;
use super::staleness::Staleness;
use super::stats::Tally;
use super::tell::{News, Outbox};
use crate::follow::{self, BATCH};
use crate::registry::{Directory, Effects, Registry, Scope};
use crate::{
    Change, Driver, Error, Event, Instance, InstanceId, Registration, Result, Settings, Status,
    View,
};

/// How many changes a reader of `changes` may be behind before it gets a `Reset`.
///
/// Twice what can come at once, for a reader may be at work on what came before.
const CHANGES: usize = 2 * BATCH;

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) directory: Arc<Directory>,
    pub(crate) runtime: Handle,
    /// Notified when the own registration has to be made again.
    pub(super) own_gone: Notify,
    /// The waiting lookups, by the service.
    pub(super) lookups: Mutex<Lookups>,
    /// The status when it last changed.
    pub(super) progress: watch::Sender<Progress>,
    pub(super) changes: broadcast::Sender<Numbered>,
    /// Whether the driver has no watch.
    is_polled: AtomicBool,
    is_polled_in_part: bool,
    driver_name: String,
    /// `None` once the client is shut down, so that the connections are closed.
    driver: Mutex<Option<Arc<dyn Driver>>>,
    core: Mutex<Core>,
    pub(super) staleness: Staleness,
    pub(super) asked: Asked,
    /// Whether any instance has failures, so that an answer may change something.
    pub(super) is_anybody_failing: AtomicBool,
}

/// The part of the state that is behind the lock.
pub(super) struct Core {
    pub(super) registry: Registry,
    pub(super) status: Status,
    pub(super) closed: bool,
    /// What the client registers.
    pub(super) own: Option<Instance>,
    /// Counts the changes of the view.
    version: u64,
    /// Since when the client has been registered, regardless of losses that were repaired.
    pub(super) registered_since: Option<Instant>,
    /// The contest with another process for the id since then.
    pub(super) contest: Contest,
    /// When the last heartbeat that was answered was sent.
    pub(super) renewed_at: Option<Instant>,
    /// When the last goodbye was sent to a backend that held the registration.
    pub(super) left_at: Option<Instant>,
    /// The result of the last goodbye.
    pub(super) goodbye: Option<Result<()>>,
    pub(super) tally: Tally,
    pub(super) outbox: Outbox,
}

#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) status: Status,
    pub(crate) closed: bool,
}

/// A change, and the version of the view that it led to; none once the client is shut down.
pub(super) type Numbered = Option<(u64, Change)>;

impl State {
    pub(crate) fn new(
        driver: Arc<dyn Driver>,
        settings: Settings,
        own: Option<Instance>,
        registration: Registration,
        runtime: Handle,
    ) -> Self {
        let directory = Arc::new(Directory::default());
        let asked = Asked::new(&settings, own.as_ref());
        let status = Status { registration, view: View::Unknown };
        let core = Core {
            registry: Registry::new(&settings, Arc::clone(&directory)),
            status: status.clone(),
            closed: false,
            own,
            version: 0,
            registered_since: None,
            contest: Contest::None,
            renewed_at: None,
            left_at: None,
            goodbye: None,
            tally: Tally::default(),
            outbox: Outbox::default(),
        };
        let staleness = Staleness::new(settings.max_stale);
        Self {
            settings,
            directory,
            runtime,
            own_gone: Notify::new(),
            lookups: Mutex::default(),
            progress: watch::Sender::new(Progress { status, closed: false }),
            changes: broadcast::Sender::new(CHANGES),
            is_polled: AtomicBool::new(false),
            is_polled_in_part: driver.is_polled_in_part(),
            driver_name: driver.name().to_owned(),
            driver: Mutex::new(Some(driver)),
            core: Mutex::new(core),
            staleness,
            asked,
            is_anybody_failing: AtomicBool::new(false),
        }
    }

    /// Notes that the driver has no watch.
    pub(crate) fn note_polled(&self) {
        self.is_polled.store(true, Ordering::Relaxed);
    }

    /// Whether changes are polled, because the driver has no watch.
    pub(crate) fn is_polled(&self) -> bool {
        self.is_polled.load(Ordering::Relaxed)
    }

    /// Whether others hear of a goodbye only when they poll.
    pub(crate) fn has_late_hearers(&self) -> bool {
        self.is_polled() || self.is_polled_in_part
    }

    pub(crate) fn driver_name(&self) -> &str {
        &self.driver_name
    }

    /// The driver, for an operation of a client that has not been shut down.
    pub(crate) fn driver(&self, operation: &str) -> Result<Arc<dyn Driver>> {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).clone();
        driver.ok_or_else(|| Error::closed(operation))
    }

    /// Runs a driver call, bounded in time, and says in its error what it was.
    pub(crate) fn call<'a, T, F: Future<Output = Result<T>>>(
        &self,
        driver: &'a dyn Driver,
        operation: &'a str,
        make: impl FnOnce() -> F,
    ) -> impl Future<Output = Result<T>> {
        follow::call(driver, operation, self.settings.timeout, make)
    }

    /// Applies the events of a watch of these services. With `is_in_part` a failure follows them, so they are
    /// not everything.
    pub(crate) fn apply(&self, events: Vec<Event>, scope: Arc<Scope>, is_in_part: bool) {
        for event in &events {
            let driver = self.driver_name();
            match event {
                Event::Reset(all) => debug!(driver, instances = all.len(), "watch: a snapshot"),
                event => debug!(driver, ?event, "watch"),
            }
        }
        self.step_if_open(|registry, now| {
            registry.listen_to(scope);
            let effects = match is_in_part {
                true => registry.apply_in_part(events, now),
                false => registry.apply(events, now),
            };
            ((), effects)
        });
    }

    pub(crate) fn begin_read(&self) {
        self.lock().registry.begin_read(Instant::now());
    }

    /// Applies a read of these services; false if it was overtaken by a `Reset`.
    pub(crate) fn finish_read(&self, all: Vec<Instance>, scope: Arc<Scope>) -> bool {
        self.lock().tally.reads.count(true);
        let applied = self.step_if_open(|registry, now| {
            registry.listen_to(scope);
            match registry.finish_read(all, now) {
                Some(effects) => (true, effects),
                None => (false, Effects::default()),
            }
        });
        applied.unwrap_or(true)
    }

    pub(crate) fn abandon_read(&self) {
        let mut core = self.lock();
        core.tally.reads.count(false);
        core.registry.abandon_read();
    }

    pub(crate) fn count_lost_watch(&self) {
        self.lock().tally.watch_restarts += 1;
    }

    pub(crate) fn lose_contact(&self, error: Error) {
        self.step_if_open(|registry, now| {
            registry.lose_contact(error, now);
            ((), Effects::default())
        });
    }

    /// Notes that this process runs; returns whether it stood still and has to look again.
    pub(crate) fn wake(&self, drift: Duration) -> bool {
        let mut core = self.lock();
        let stood_still = core.registry.wake(Instant::now(), drift);
        if stood_still && core.status.registration.is_wanted() {
            core.outbox.push(News::OwnGone);
        }
        drop(core);
        self.tell();
        stood_still
    }

    /// How much good time the first of the missing has left, if something is missing.
    pub(crate) fn rest_of_the_missing(&self) -> Option<Duration> {
        self.lock().registry.rest_of_the_missing()
    }

    /// The version of a view that is fresh, and what is registered if it is not the one known.
    pub(crate) fn good_view(
        &self,
        known: Option<u64>,
    ) -> Option<(u64, Option<Vec<Arc<Instance>>>)> {
        let core = self.lock();
        let news = || (known != Some(core.version)).then(|| core.registry.registered_all());
        matches!(core.registry.view(), View::Fresh).then(|| (core.version, news()))
    }

    pub(crate) fn deregistered(&self, id: &InstanceId) {
        self.step(|core, _| ((), core.registry.deregistered(id)));
    }

    pub(crate) fn registered_at(&self, url: &str) -> Vec<InstanceId> {
        self.lock().registry.registered_at(url)
    }

    pub(crate) fn add_local(&self, service: &str, url: &str) -> Result<InstanceId> {
        self.step(|core, _| match core.registry.add_local(service, url) {
            Ok((id, effects)) => {
                // A pick finds it, and so would not ask for the others of the service.
                self.asked.ask(service);
                (Ok(id), effects)
            }
            Err(error) => (Err(error), Effects::default()),
        })
    }

    pub(crate) fn remove_local(&self, id: &InstanceId) -> bool {
        self.step(|core, _| match core.registry.remove_local(id) {
            Some(effects) => (true, effects),
            None => (false, Effects::default()),
        })
    }

    /// Ends everything that waits; the last view is still served.
    pub(crate) fn close(&self) {
        self.step(|core, now| {
            let mut effects = Effects::default();
            if !mem::replace(&mut core.closed, true) {
                effects = core.registry.readmit_all();
                core.registry.lose_contact(Error::closed("watch"), now);
                // Set here, because this loss of contact is no failure to warn of.
                core.status.view = core.registry.view();
                core.outbox.push(News::Closed(core.status.clone()));
            }
            ((), effects)
        });
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(driver);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What the whole view is told by, its version, and the changes that follow; `None` for those once the
    /// client is shut down.
    pub(super) fn changes(&self) -> (Vec<Change>, u64, Option<broadcast::Receiver<Numbered>>) {
        let core = self.lock();
        let receiver = (!core.closed).then(|| self.changes.subscribe());
        (core.registry.whole(), core.version, receiver)
    }

    /// The latest failure that the client lives with.
    pub(crate) fn last_error(&self) -> Option<Error> {
        match self.status().registration {
            Registration::Retrying { error, .. } | Registration::Standalone { error, .. } => {
                Some(error)
            }
            _ => self.lock().registry.never_reached().flatten().cloned(),
        }
    }

    /// Runs a step of the background work, unless the client was closed and the task has not noticed yet.
    pub(super) fn step_if_open<T>(
        &self,
        step: impl FnOnce(&mut Registry, Instant) -> (T, Effects),
    ) -> Option<T> {
        self.step(|core, now| match core.closed {
            true => (None, Effects::default()),
            false => {
                let (result, effects) = step(&mut core.registry, now);
                (Some(result), effects)
            }
        })
    }

    /// Runs one step of the registry, and publishes its effects once the lock is released.
    pub(super) fn step<T>(&self, step: impl FnOnce(&mut Core, Instant) -> (T, Effects)) -> T {
        let now = Instant::now();
        let mut core = self.lock();
        let (result, effects) = step(&mut core, now);
        core.note(effects);
        core.note_replacement(now, self.settings.lease_ttl, self.is_polled());
        self.staleness.note(core.registry.aging_since());
        let is_anybody_failing = core.registry.is_anybody_failing();
        // Every report reads this flag, so it is written only if it changes.
        if self.is_anybody_failing.load(Ordering::Relaxed) != is_anybody_failing {
            self.is_anybody_failing.store(is_anybody_failing, Ordering::Relaxed);
        }
        drop(core);
        self.tell();
        result
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Puts what a step did into the outbox.
    fn note(&mut self, effects: Effects) {
        if !effects.changes.is_empty() {
            self.tally.count(&effects.changes);
            let first = self.version + 1;
            self.version += effects.changes.len() as u64;
            self.outbox.push(News::Changes(first, effects.changes));
        }
        if effects.own_gone {
            self.outbox.push(News::OwnGone);
        }
        if effects.knows_more {
            self.outbox.push(News::KnowsMore);
        }
        let view = self.registry.view();
        if !self.closed && self.set_status(|status| status.view = view.clone()) {
            self.outbox.push(News::View(view));
        }
    }

    /// Changes the status. Returns true, and publishes it, only if it differs.
    pub(super) fn set_status(&mut self, change: impl FnOnce(&mut Status)) -> bool {
        let before = self.status.clone();
        change(&mut self.status);
        let is_news = !self.status.is_like(&before);
        if is_news {
            self.outbox.push(News::Status(self.status.clone()));
        }
        is_news
    }
}
