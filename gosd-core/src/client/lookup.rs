//! Picking: at once, or waiting until there is something to pick.

use std::collections::HashMap;
use std::ops::Deref;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::state::State;
use crate::registry::{Leaf, Rotation, Services, Turns};
use crate::{Error, Instance, Result, limits};

/// A handle on one service, for the hot path: one per task.
///
/// It keeps what is in rotation cached and costs little more than a shared counter. Clones, and
/// every other way to pick of the same client, share the service's one turn. A handle does not keep
/// the client's background work going; once the client is gone it serves the last view.
///
/// A handle holds on to the instances it saw last until it picks again.
///
/// ```
/// # use std::sync::Arc;
/// # use gosd_core::{Client, Memory};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let client = Client::builder(Arc::new(Memory::new())).start().await?;
/// client.add_local("mail", "http://10.0.0.7:25")?;
/// let mut mail = client.service("mail");
/// for _ in 0..3 {
///     assert_eq!(mail.pick().map(|instance| instance.url()), Some("http://10.0.0.7:25"));
/// }
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Service {
    state: Arc<State>,
    name: Arc<str>,
    services: Cache<Shared, Arc<Services>>,
    cached: Option<Cached>,
}

/// What a handle knows of its service, as of one moment of all services.
#[derive(Clone)]
struct Cached {
    services: Arc<Services>,
    rotation: Arc<Rotation>,
    turns: Turns,
    /// The slots around the last turn, and the number of the first.
    leaf: Arc<Leaf<Arc<Instance>>>,
    first: usize,
}

#[derive(Clone)]
struct Shared(Arc<State>);

impl Deref for Shared {
    type Target = ArcSwap<Services>;

    fn deref(&self) -> &Self::Target {
        self.0.directory.services()
    }
}

impl Service {
    pub(super) fn new(state: Arc<State>, name: &str) -> Self {
        let services = Cache::new(Shared(Arc::clone(&state)));
        Self { state, name: name.into(), services, cached: None }
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Picks the next instance in turn, if there is one now.
    ///
    /// Never waits and never locks. `None` also if the view is older than
    /// [`max_stale`](field@crate::Settings::max_stale) allows.
    pub fn pick(&mut self) -> Option<&Arc<Instance>> {
        if self.state.is_too_stale() {
            return None;
        }
        let services = self.services.load();
        if self.cached.as_ref().is_none_or(|cached| !Arc::ptr_eq(&cached.services, services)) {
            self.cached = Cached::of(services, &self.name);
        }
        let cached = self.cached.as_mut()?;
        let slot = cached.turns.take()?;
        if slot.wrapping_sub(cached.first) >= cached.leaf.len() {
            let (leaf, first) = cached.rotation.leaf(slot)?;
            (cached.leaf, cached.first) = (Arc::clone(leaf), first);
        }
        cached.leaf.get(slot - cached.first)
    }

    /// Picks the next instance in turn, waiting for the service to appear.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As for [`Client::next`](crate::Client::next).
    pub async fn next(&mut self) -> Result<Arc<Instance>> {
        if let Some(instance) = self.pick() {
            return Ok(Arc::clone(instance));
        }
        let (state, name) = (Arc::clone(&self.state), Arc::clone(&self.name));
        wait(&state, &name, || self.pick().cloned()).await
    }
}

impl Cached {
    #[cold]
    fn of(services: &Arc<Services>, name: &str) -> Option<Self> {
        let rotation = Arc::clone(services.get(name)?);
        let turns = rotation.turns().clone();
        let (leaf, first) = rotation.leaf(0)?;
        let leaf = Arc::clone(leaf);
        Some(Self { services: Arc::clone(services), rotation, turns, leaf, first })
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Waits, up to the bound of the settings, until a pick succeeds.
pub(super) async fn wait(
    state: &State,
    service: &str,
    mut pick: impl FnMut() -> Option<Arc<Instance>>,
) -> Result<Arc<Instance>> {
    let waiter = Waiter::new(state, service);
    let bound = {
        // A timer is made inside the runtime, and may be awaited anywhere.
        let _runtime = state.runtime.enter();
        sleep(state.settings.find_timeout())
    };
    tokio::pin!(bound);
    loop {
        let mut woken = pin!(waiter.notify.notified());
        // From here on no news is missed.
        woken.as_mut().enable();
        if let Some(instance) = pick() {
            return Ok(instance);
        }
        if let Some(stale) = state.too_stale() {
            return Err(stale);
        }
        // After the pick, for other software may have registered anything under any name.
        limits::check_service(service).map_err(|error| error.at(state.driver_name(), "next"))?;
        if state.is_closed() {
            return Err(Error::closed("next"));
        }
        tokio::select! {
            // The end of the client is news: after it the clock may be gone, and panics.
            biased;
            () = woken => {}
            () = &mut bound => return pick().ok_or_else(|| state.not_found(service)),
        }
    }
}

/// The lookups that wait, by the service that they wait for.
#[derive(Default)]
pub(super) struct Lookups {
    waiting: HashMap<Arc<str>, Arc<Notify>>,
}

impl Lookups {
    /// Those for one service.
    pub(super) fn get(&self, service: &str) -> Option<&Arc<Notify>> {
        self.waiting.get(service)
    }

    pub(super) fn all(&self) -> Vec<Arc<Notify>> {
        self.waiting.values().cloned().collect()
    }
}

/// A lookup that waits.
struct Waiter<'a> {
    state: &'a State,
    service: Arc<str>,
    notify: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn new(state: &'a State, service: &str) -> Self {
        let service: Arc<str> = service.into();
        let notify = lookups(state).waiting.entry(Arc::clone(&service)).or_default().clone();
        Self { state, service, notify }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut lookups = lookups(self.state);
        // This one and the map hold it, and nobody else: the last lookup for the service is over.
        if Arc::strong_count(&self.notify) == 2 {
            lookups.waiting.remove(&self.service);
        }
    }
}

fn lookups(state: &State) -> MutexGuard<'_, Lookups> {
    state.lookups.lock().unwrap_or_else(PoisonError::into_inner)
}
