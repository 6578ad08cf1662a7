//! Lookups that wait until there is an instance to pick.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::state::State;
use crate::{Error, ErrorKind, Result, limits};

/// Waits, up to the bound of the settings, until a pick succeeds.
pub(super) async fn wait<T>(
    state: &State,
    service: &str,
    mut pick: impl FnMut() -> Option<T>,
) -> Result<T> {
    state.asked.ask(service);
    let waiter = Waiter::new(state, service);
    let mut is_over = false;
    let bound = {
        // A timer is made inside the runtime, and may be awaited anywhere.
        let _runtime = state.runtime.enter();
        sleep(state.settings.find_timeout())
    };
    tokio::pin!(bound);
    loop {
        let mut woken = pin!(waiter.notify.notified());
        // Subscribed before the pick, so that an instance that comes in between is not missed.
        woken.as_mut().enable();
        if let Some(picked) = pick() {
            return Ok(picked);
        }
        if let Some(stale) = state.too_stale() {
            return Err(stale);
        }
        // Checked only after the pick, because other software may have registered any name.
        limits::check_service(service).map_err(|error| error.at(state.driver_name(), "next"))?;
        if state.is_closed() {
            return Err(Error::closed("next"));
        }
        if is_over && state.covers(service) {
            return Err(state.not_found(service));
        }
        tokio::select! {
            // A shutdown wakes the lookup too, and its runtime's timer may be gone by then.
            biased;
            () = woken => {}
            () = &mut bound => {
                // The answer about a service that has just been asked for is under way.
                if is_over || state.covers(service) {
                    return pick().ok_or_else(|| state.not_found(service));
                }
                is_over = true;
                let longer = state.settings.timeout.saturating_sub(state.settings.find_timeout());
                bound.as_mut().reset(Instant::now() + longer);
            }
        }
    }
}

impl State {
    /// Why a lookup that found nothing failed.
    pub(crate) fn not_found(&self, service: &str) -> Error {
        if let Some(stale) = self.too_stale() {
            return stale;
        }
        let core = self.lock();
        match core.registry.never_reached() {
            None if !core.registry.covers(service) => {
                let message = format!(
                    "cannot tell where {service:?} is: it was not asked for before, and the backend has \
                     not answered yet"
                );
                Error::new(ErrorKind::Unavailable, message)
            }
            None => {
                let hint = match self.directory.in_another_case(service) {
                    Some(name) => format!("there is {name:?}, and upper and lower case differ"),
                    None => "is it running, with this backend and namespace?".into(),
                };
                let message = match self.directory.instances(service).len() {
                    0 => format!("no instance of {service:?} is registered; {hint}"),
                    count => format!(
                        "{service:?} is registered ({count}), but each of its instances is drained, \
                         or is not one of those that were asked for"
                    ),
                };
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
        .at(self.driver_name(), "next")
    }

    /// Whether the view is older than the settings allow.
    #[inline]
    pub(crate) fn is_too_stale(&self) -> bool {
        self.staleness.excess().is_some()
    }

    /// The error of lookups in a view that is older than the settings allow.
    pub(crate) fn too_stale(&self) -> Option<Error> {
        let (stale, limit) = self.staleness.excess()?;
        let message =
            format!("without contact for {stale:.0?}, and no more than {limit:?} is allowed");
        Some(Error::new(ErrorKind::Stale, message).at(self.driver_name(), "next"))
    }
}

/// The lookups that wait, by the service that they wait for.
#[derive(Default)]
pub(super) struct Lookups {
    waiting: HashMap<Arc<str>, Waiting>,
}

/// The lookups that wait for one service.
#[derive(Default)]
struct Waiting {
    notify: Arc<Notify>,
    /// Counted, because whoever wakes them shares the `notify` for a moment, too.
    count: usize,
}

impl Lookups {
    /// The lookups for one service.
    pub(super) fn get(&self, service: &str) -> Option<&Arc<Notify>> {
        self.waiting.get(service).map(|waiting| &waiting.notify)
    }

    pub(super) fn all(&self) -> Vec<Arc<Notify>> {
        self.waiting.values().map(|waiting| Arc::clone(&waiting.notify)).collect()
    }
}

/// One waiting lookup.
struct Waiter<'a> {
    state: &'a State,
    service: Arc<str>,
    notify: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn new(state: &'a State, service: &str) -> Self {
        let service: Arc<str> = service.into();
        let mut lookups = lookups(state);
        let waiting = lookups.waiting.entry(Arc::clone(&service)).or_default();
        waiting.count += 1;
        Self { state, service, notify: Arc::clone(&waiting.notify) }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut lookups = lookups(self.state);
        if let Entry::Occupied(mut waiting) = lookups.waiting.entry(Arc::clone(&self.service)) {
            waiting.get_mut().count -= 1;
            if waiting.get().count == 0 {
                waiting.remove();
            }
        }
    }
}

fn lookups(state: &State) -> MutexGuard<'_, Lookups> {
    state.lookups.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::{Memory, Registration, Settings};

    #[tokio::test]
    async fn the_last_lookup_of_a_service_leaves_nothing_behind() {
        let (driver, settings) = (Arc::new(Memory::new()), Settings::default());
        let discovers = Registration::DiscoverOnly;
        let state = State::new(driver, settings, None, discovers, Handle::current());
        let [one, other] = [(); 2].map(|()| Waiter::new(&state, "mail"));
        // As a thread does that wakes the two while they end.
        let woken = lookups(&state).all();
        drop(one);
        assert!(lookups(&state).get("mail").is_some());
        drop(other);
        assert!(lookups(&state).get("mail").is_none());
        drop(woken);
    }
}
