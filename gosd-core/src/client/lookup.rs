//! Picking: at once, or waiting until there is something to pick.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use tokio::time::sleep;

use super::state::State;
use crate::registry::{Entry, Rotation};
use crate::{Error, Instance, Result};

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
    cached: Option<Cached>,
}

#[derive(Clone)]
struct Cached {
    entry: Arc<Entry>,
    rotation: Cache<RotationOf, Arc<Rotation>>,
}

#[derive(Clone)]
struct RotationOf(Arc<Entry>);

impl Deref for RotationOf {
    type Target = ArcSwap<Rotation>;

    fn deref(&self) -> &Self::Target {
        self.0.rotation()
    }
}

impl Service {
    pub(super) fn new(state: Arc<State>, name: &str) -> Self {
        Self { state, name: name.into(), cached: None }
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
        if self.state.too_stale().is_some() {
            return None;
        }
        let is_empty = |cached: &mut Cached| cached.rotation.load().is_empty();
        if self.cached.as_mut().is_none_or(is_empty) {
            // What is emptied is forgotten: the service may be back under a new entry.
            let entry = self.state.directory.find(&self.name)?;
            let rotation = Cache::new(RotationOf(Arc::clone(&entry)));
            self.cached = Some(Cached { entry, rotation });
        }
        let cached = self.cached.as_mut()?;
        cached.entry.next(cached.rotation.load())
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
    let mut news = state.news();
    let bound = {
        // A timer is made inside the runtime, and may be awaited anywhere.
        let _runtime = state.runtime.enter();
        sleep(state.settings.find_timeout())
    };
    tokio::pin!(bound);
    loop {
        news.borrow_and_update();
        if let Some(instance) = pick() {
            return Ok(instance);
        }
        if let Some(stale) = state.too_stale() {
            return Err(stale);
        }
        if state.is_closed() {
            return Err(Error::closed("next"));
        }
        tokio::select! {
            // Cannot fail: the state holds the sender.
            _ = news.changed() => {}
            () = &mut bound => return pick().ok_or_else(|| state.not_found(service)),
        }
    }
}
