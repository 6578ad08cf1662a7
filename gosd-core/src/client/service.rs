//! The handle on one service, which caches what it picks from.

use std::sync::Arc;

use super::affinity;
use super::lookup::wait;
use super::state::State;
use super::turn::Turn;
use crate::registry::{NO_VERSION, Picker, Rotation, Selection, Services};
use crate::{Instance, Result};

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
    /// The selection of instances; `None` for all.
    selection: Option<Arc<Selection>>,
    /// Of which version of all services what is cached is.
    version: u64,
    cached: Option<Cached>,
}

/// What a handle has cached of its service, and of no other, so that an idle handle keeps little alive.
#[derive(Clone)]
struct Cached {
    rotation: Arc<Rotation>,
    picker: Picker,
    /// The hashes of the ids by slot, once they were asked for.
    hashes: Option<Arc<[u64]>>,
}

impl Service {
    pub(super) fn new(state: Arc<State>, name: &str, selection: Option<Selection>) -> Self {
        let selection = selection.map(Arc::new);
        state.asked.ask(name);
        Self { state, name: name.into(), selection, version: NO_VERSION, cached: None }
    }

    /// Lets a handle of [`service_where`](crate::Client::service_where) pick from all instances in rotation
    /// while none of them matches. Other handles are returned unchanged.
    ///
    /// So a process prefers its own zone, and other zones serve if that one fails. A [`Turn`] goes on to the
    /// other instances after those that match. From here on the handle has its own rotation.
    #[must_use]
    pub fn or_else_all(mut self) -> Self {
        self.selection = self.selection.map(|selection| Arc::new(selection.or_else_all()));
        (self.version, self.cached) = (NO_VERSION, None);
        self
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Picks the next instance in turn, if there is one now.
    ///
    /// Never waits, and never locks, but for a handle of [`service_where`](crate::Client::service_where)
    /// whose service has just changed. `None` also if the view is older than
    /// [`max_stale`](field@crate::Settings::max_stale) allows.
    #[inline]
    pub fn pick(&mut self) -> Option<&Arc<Instance>> {
        let cached = self.current()?;
        let slot = cached.picker.slot(cached.picker.take());
        if cached.picker.at(slot).is_none() {
            cached.picker.reach(&cached.rotation, slot);
        }
        cached.picker.at(slot)
    }

    /// Takes the next turn, if there is one now, for a request that may have to try several instances.
    ///
    /// Never waits. `None` as for [`pick`](Self::pick).
    pub fn turn(&mut self) -> Option<Turn> {
        let cached = self.current()?;
        let slot = cached.picker.slot(cached.picker.take());
        let rotation = Arc::clone(&cached.rotation);
        let instance = Arc::clone(rotation.slots().get(slot)?);
        let selection = self.selection.clone();
        Some(Turn::new(Arc::clone(&self.state), rotation, slot, instance, selection))
    }

    /// Picks the instance that a key belongs to: the same for the same key, in every process that sees
    /// the same instances.
    ///
    /// For caches and tenants. When an instance comes or goes, only the keys that it gets or had move.
    /// It takes no turn, and the time grows with the number of instances: a few ns for each.
    pub fn pick_for(&mut self, key: &[u8]) -> Option<&Arc<Instance>> {
        let cached = self.current()?;
        let slots = cached.rotation.slots();
        let hash = |instance: &Arc<Instance>| affinity::hash(instance.id().as_str().as_bytes());
        let hashes = cached.hashes.get_or_insert_with(|| slots.iter().map(hash).collect());
        slots.get(affinity::choose(hashes, key)?)
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

    /// Takes the next turn, waiting for the service to appear, or for an instance of it that matches.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As for [`Client::next`](crate::Client::next).
    pub async fn next_turn(&mut self) -> Result<Turn> {
        if let Some(turn) = self.turn() {
            return Ok(turn);
        }
        let (state, name) = (Arc::clone(&self.state), Arc::clone(&self.name));
        wait(&state, &name, || self.turn()).await
    }

    /// What can be picked now.
    #[inline]
    fn current(&mut self) -> Option<&mut Cached> {
        if self.state.is_too_stale() {
            return None;
        }
        let version = self.state.directory.version();
        if self.version != version {
            self.look_anew(version);
        }
        self.cached.as_mut()
    }

    /// Finds the service again after a change of any; apart, so that the rest is small enough to be a part
    /// of the pick.
    #[cold]
    fn look_anew(&mut self, version: u64) {
        let services = self.state.directory.services();
        self.cached = Cached::of(&services, &self.name, self.selection.as_deref());
        self.version = version;
    }
}

impl Cached {
    #[cold]
    fn of(services: &Services, name: &str, selection: Option<&Selection>) -> Option<Self> {
        let all = services.get(name)?;
        let rotation = match selection {
            Some(selection) => selection.choose(all),
            None => Arc::clone(all),
        };
        let picker = Picker::around(&rotation, 0)?;
        Some(Self { rotation, picker, hashes: None })
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}
