//! What the client's handles and its background tasks share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::staleness::Staleness;
use super::sync::BATCH;
use crate::registry::{Directory, Effects, Registry};
use crate::{
    Change, Driver, Error, ErrorKind, Event, Instance, InstanceId, Registration, Result, Settings,
    Status, View,
};

/// How many changes a reader of `changes` may be behind before it gets a `Reset`.
///
/// Twice what can come at once, for a reader may be at work on what came before.
const CHANGES: usize = 2 * BATCH;

pub(crate) struct State {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) settings: Settings,
    pub(crate) directory: Arc<Directory>,
    pub(crate) runtime: Handle,
    /// Told when the own registration is gone.
    pub(crate) own_gone: Notify,
    core: Mutex<Core>,
    progress: watch::Sender<Progress>,
    /// Told of what may answer a waiting lookup: a new service, contact, the end.
    news: watch::Sender<()>,
    staleness: Staleness,
}

struct Core {
    registry: Registry,
    /// Gone once the client is shut down.
    changes: Option<broadcast::Sender<Change>>,
    /// Counts the changes of the view.
    version: u64,
    /// How the last goodbye went.
    goodbye: Option<Result<()>>,
}

#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) status: Status,
    pub(crate) closed: bool,
}

impl State {
    pub(crate) fn new(
        driver: Arc<dyn Driver>,
        settings: Settings,
        registration: Registration,
        runtime: Handle,
    ) -> Self {
        let directory = Arc::new(Directory::default());
        let registry = Registry::new(settings.lease_ttl, Arc::clone(&directory));
        let changes = Some(broadcast::Sender::new(CHANGES));
        let core = Core { registry, changes, version: 0, goodbye: None };
        let status = Status { registration, view: View::Unknown };
        let staleness = Staleness::new(settings.max_stale);
        Self {
            driver,
            settings,
            directory,
            runtime,
            own_gone: Notify::new(),
            core: Mutex::new(core),
            progress: watch::Sender::new(Progress { status, closed: false }),
            news: watch::Sender::new(()),
            staleness,
        }
    }

    pub(crate) fn apply(&self, events: Vec<Event>) {
        for event in &events {
            debug!(driver = self.driver.name(), ?event, "watch");
        }
        self.step_if_open(|registry, now| registry.apply(events, now));
    }

    pub(crate) fn begin_read(&self) {
        self.lock().registry.begin_read();
    }

    /// Applies a read; false if it was overtaken by a `Reset`.
    pub(crate) fn finish_read(&self, all: Vec<Instance>) -> bool {
        let mut applied = true;
        self.step_if_open(|registry, now| {
            registry.finish_read(all, now).unwrap_or_else(|| {
                applied = false;
                Effects::default()
            })
        });
        applied
    }

    pub(crate) fn abandon_read(&self) {
        self.lock().registry.abandon_read();
    }

    pub(crate) fn lose_contact(&self, error: Error) {
        self.step_if_open(|registry, now| {
            registry.lose_contact(error, now);
            Effects::default()
        });
    }

    pub(crate) fn sweep(&self) {
        self.step_if_open(Registry::sweep);
    }

    /// Takes over a view from before, of this age.
    pub(crate) fn seed(&self, all: Vec<Instance>, age: Duration) {
        self.step_if_open(|registry, now| registry.seed(all, now.checked_sub(age).unwrap_or(now)));
    }

    /// The version of a view that is fresh, and what others registered if it is not the one known.
    pub(crate) fn good_view(
        &self,
        known: Option<u64>,
    ) -> Option<(u64, Option<Vec<Arc<Instance>>>)> {
        let core = self.lock();
        let news = || (known != Some(core.version)).then(|| core.registry.of_others());
        matches!(core.registry.view(), View::Fresh).then(|| (core.version, news()))
    }

    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        self.lock().registry.next_sweep()
    }

    pub(crate) fn own_is_gone(&self) -> bool {
        self.lock().registry.own_is_gone()
    }

    pub(crate) fn deregistered(&self, id: &InstanceId) {
        self.step(|registry, _| registry.deregistered(id));
    }

    pub(crate) fn registered_at(&self, url: &str) -> Vec<InstanceId> {
        self.lock().registry.registered_at(url)
    }

    pub(crate) fn add_local(&self, service: &str, url: &str) -> Result<InstanceId> {
        let mut result = Err(Error::closed("add_local"));
        self.step(|registry, _| match registry.add_local(service, url) {
            Ok((id, effects)) => {
                result = Ok(id);
                effects
            }
            Err(error) => {
                result = Err(error);
                Effects::default()
            }
        });
        result
    }

    pub(crate) fn remove_local(&self, id: &InstanceId) -> bool {
        let mut removed = false;
        self.step(|registry, _| {
            let effects = registry.remove_local(id);
            removed = effects.is_some();
            effects.unwrap_or_default()
        });
        removed
    }

    /// Notes a successful heartbeat, unless the client has left in the meantime.
    pub(crate) fn registered(&self, instance: &Instance) {
        self.step_if_open(|registry, _| {
            let mut has_left = false;
            let changed = self.set_status(|status| match status.registration {
                Registration::Left => has_left = true,
                _ => status.registration = Registration::Registered,
            });
            if changed {
                info!(driver = self.driver.name(), id = %instance.id(), "registered");
            }
            if has_left { Effects::default() } else { registry.registered(instance) }
        });
    }

    pub(crate) fn registration_failed(&self, error: Error) {
        let driver = self.driver.name();
        let shown = error.clone();
        let changed = self.set_status(|status| {
            status.registration = match &status.registration {
                Registration::Retrying { since, .. } => {
                    Registration::Retrying { since: *since, error }
                }
                Registration::Standalone { since, .. } => {
                    Registration::Standalone { since: *since, error }
                }
                Registration::Registered => {
                    Registration::Retrying { since: Instant::now().into_std(), error }
                }
                Registration::Left | Registration::DiscoverOnly => return,
            }
        });
        if changed {
            warn!(driver, error = %shown, "the registration fails; it is retried until it succeeds");
        }
    }

    /// Marks the client as left: from now on nothing registers it.
    pub(crate) fn disown(&self) {
        self.step(|registry, _| {
            registry.disown();
            self.set_status(|status| status.registration = Registration::Left);
            Effects::default()
        });
    }

    /// Notes how the goodbye went.
    pub(crate) fn has_left(&self, instance: &Instance, result: &Result<()>) {
        self.lock().goodbye = Some(result.clone());
        if result.is_ok() {
            self.deregistered(instance.id());
        }
    }

    pub(crate) fn goodbye(&self) -> Option<Result<()>> {
        self.lock().goodbye.clone()
    }

    /// Ends everything that waits; the view is served on as it is.
    pub(crate) fn close(&self) {
        if self.is_closed() {
            return;
        }
        self.step(|registry, now| {
            registry.lose_contact(Error::closed("watch"), now);
            // Here and not after it, for this loss of contact is no failure to warn of.
            let view = registry.view();
            self.progress.send_modify(|progress| {
                progress.status.view = view;
                progress.closed = true;
            });
            Effects::default()
        });
        self.lock().changes = None;
        self.news.send_replace(());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.progress.borrow().closed
    }

    pub(crate) fn status(&self) -> Status {
        self.progress.borrow().status.clone()
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Everything there is now, and the changes that follow; none once the client is shut down.
    pub(crate) fn changes(&self) -> (Change, Option<broadcast::Receiver<Change>>) {
        let core = self.lock();
        let all = core.registry.instances().cloned().collect();
        (Change::Reset(all), core.changes.as_ref().map(broadcast::Sender::subscribe))
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

    /// Why a lookup that found nothing failed.
    pub(crate) fn not_found(&self, service: &str) -> Error {
        if let Some(stale) = self.too_stale() {
            return stale;
        }
        let backend = self.driver.name();
        let core = self.lock();
        match core.registry.never_reached() {
            None => {
                let hint = match self.directory.in_another_case(service) {
                    Some(name) => format!("there is {name:?}, and upper and lower case differ"),
                    None => "is it running, with this backend and namespace?".into(),
                };
                let message = format!("no instance of {service:?} is registered; {hint}");
                Error::new(ErrorKind::NotFound, message)
            }
            Some(cause) => {
                let error = Error::new(
                    ErrorKind::Unavailable,
                    format!("cannot tell where {service:?} is: nothing has been read from the backend yet"),
                );
                match cause {
                    Some(cause) => error.caused_by(cause.clone()),
                    None => error,
                }
            }
        }
        .at(backend, "next")
    }

    /// Whether the view is older than the settings allow.
    pub(crate) fn is_too_stale(&self) -> bool {
        self.staleness.excess().is_some()
    }

    /// The error of lookups in a view that is older than the settings allow.
    pub(crate) fn too_stale(&self) -> Option<Error> {
        let (stale, limit) = self.staleness.excess()?;
        let message =
            format!("without contact for {stale:.0?}, and no more than {limit:?} is allowed");
        Some(Error::new(ErrorKind::Stale, message).at(self.driver.name(), "next"))
    }

    /// Runs a step of the background work, which may not have noticed yet that it is stopped.
    fn step_if_open(&self, step: impl FnOnce(&mut Registry, Instant) -> Effects) {
        self.step(|registry, now| match self.is_closed() {
            true => Effects::default(),
            false => step(registry, now),
        });
    }

    /// Runs one step of the registry, and tells everybody what it did.
    fn step(&self, step: impl FnOnce(&mut Registry, Instant) -> Effects) {
        let now = Instant::now();
        let mut core = self.lock();
        let effects = step(&mut core.registry, now);
        let view = core.registry.view();
        core.version += effects.changes.len() as u64;
        if let Some(changes) = &core.changes {
            for change in effects.changes {
                debug!(driver = self.driver.name(), ?change, "view");
                // Fails only if nobody listens.
                let _ = changes.send(change);
            }
        }
        // Under the lock, so that the order of what is told is the order of the steps.
        let contact_changed = self.set_view(&view);
        drop(core);
        if effects.own_gone {
            info!(driver = self.driver.name(), "the own registration is gone from the backend");
            self.own_gone.notify_one();
        }
        if contact_changed || effects.service_came {
            self.news.send_replace(());
        }
    }

    fn set_view(&self, view: &View) -> bool {
        let driver = self.driver.name();
        self.staleness.note(view);
        let changed = self.set_status(|status| status.view = view.clone());
        if changed {
            match view {
                View::Stale { error, .. } => {
                    warn!(driver, %error, "contact lost; the last view is served on");
                }
                View::Fresh => info!(driver, "in contact"),
                View::Unknown => {}
            }
        }
        changed
    }

    /// Changes the status; tells of it, and returns true, only if it says something new.
    fn set_status(&self, change: impl FnOnce(&mut Status)) -> bool {
        self.progress.send_if_modified(|progress| {
            let before = progress.status.clone();
            change(&mut progress.status);
            !progress.status.is_like(&before)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
