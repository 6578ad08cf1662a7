//! A turn of the rotation that goes on to another instance when one fails.

use std::fmt;
use std::sync::Arc;

use super::state::State;
use crate::registry::{Budget, Rotation, Selection, Slots, Standing};
use crate::{Instance, InstanceId, Outcome};

/// A turn of a service's rotation, for one request: it goes on to another instance if one fails.
///
/// It takes one turn, however many instances it tries, and none of them twice. Taking another turn for
/// a second attempt would often lead to the same dead instance, for all callers share the rotation.
/// What it is told is [reported](crate::Client::report). A dropped turn says nothing.
///
/// ```
/// use std::sync::Arc;
/// use gosd_core::{Client, Memory, Outcome};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # async fn get(url: &str) -> Result<&'static str, std::io::Error> {
/// #     match url.starts_with("http://10.0.0.7") { true => Ok("hello"), false => Err(std::io::ErrorKind::ConnectionRefused.into()) }
/// # }
/// let client = Client::builder(Arc::new(Memory::new())).start().await?;
/// client.add_local("orders", "http://10.0.0.7:8885")?;
/// client.add_local("orders", "http://10.0.0.8:8885")?;
///
/// let mut turn = client.turn("orders").await?;
/// let reply = loop {
///     match get(&turn.instance().url_with("/7")).await {
///         Ok(reply) => {
///             turn.succeeded();
///             break Ok(reply);
///         }
///         Err(error) => match turn.failed(Outcome::Unreachable) {
///             Some(next) => turn = next,
///             None => break Err(error),
///         },
///     }
/// };
/// assert_eq!(reply.unwrap(), "hello");
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "a turn that nobody uses is one that somebody else could have had"]
pub struct Turn {
    state: Arc<State>,
    /// The rotation when the turn was taken.
    rotation: Arc<Rotation>,
    slot: usize,
    instance: Arc<Instance>,
    tried: Vec<InstanceId>,
    /// Whether an instance refused the request.
    was_refused: bool,
    selection: Option<Arc<Selection>>,
}

impl Turn {
    pub(super) fn new(
        state: Arc<State>,
        rotation: Arc<Rotation>,
        slot: usize,
        instance: Arc<Instance>,
        selection: Option<Arc<Selection>>,
    ) -> Self {
        let (tried, was_refused) = (Vec::new(), false);
        Self { state, rotation, slot, instance, tried, was_refused, selection }
    }

    /// Takes the next turn of a service, if there is one now.
    pub(super) fn take(state: &Arc<State>, service: &str) -> Option<Self> {
        if state.is_too_stale() {
            return None;
        }
        let (rotation, slot) = state.directory.turn(service)?;
        let instance = Arc::clone(rotation.slots().get(slot)?);
        Some(Self::new(Arc::clone(state), rotation, slot, instance, None))
    }

    /// The instance to send the request to.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Reports that the request failed, and goes on to an instance that has not been tried yet; `None` after
    /// the last.
    ///
    /// Instances in rotation now come first, then those that were when the turn was taken, and last those that
    /// are [ejected](crate::Client::ejected), for one of them may live again. But once an instance has
    /// [refused](Outcome::Refused) the request, the ejected ones are left alone, because they may refuse for having
    /// too much to do. A turn of [`service_where`](crate::Client::service_where) stays among the instances that
    /// match, and goes on to the others after them if [`or_else_all`](crate::Service::or_else_all) was called.
    pub fn failed(mut self, outcome: Outcome) -> Option<Self> {
        self.state.report(self.instance.id(), outcome);
        self.tried.push(self.instance.id().clone());
        self.was_refused |= outcome == Outcome::Refused;
        (self.slot, self.instance) = self.next()?;
        Some(self)
    }

    /// Reports that the request was answered.
    pub fn succeeded(self) {
        self.state.report(self.instance.id(), Outcome::Answered);
    }

    /// The budget of repeated requests to the service.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        self.rotation.budget()
    }

    fn next(&self) -> Option<(usize, Arc<Instance>)> {
        let services = self.state.directory.services();
        let places = services.get(self.instance.service()).map(|rotation| rotation.places());
        let list = |standing| places.map(|places| places.list(standing));
        let (current, ejected) = (list(Standing::InRotation), list(Standing::Ejected));
        let selection = self.selection.as_deref();
        let matching = |it: &Instance| selection.is_none_or(|selection| selection.matches(it));
        let falls_back = selection.is_some_and(Selection::falls_back);
        current
            .and_then(|slots| self.untried(slots, matching))
            .or_else(|| current.filter(|_| falls_back).and_then(|it| self.untried(it, |_| true)))
            .or_else(|| self.untried(self.rotation.slots(), |_| true))
            .or_else(|| {
                let ejected = ejected.filter(|_| !self.was_refused)?;
                self.untried(ejected, |it| falls_back || matching(it))
            })
    }

    /// The first instance that was not tried, from the turn's place on.
    fn untried(
        &self,
        slots: &Slots<Arc<Instance>>,
        is_wanted: impl Fn(&Instance) -> bool,
    ) -> Option<(usize, Arc<Instance>)> {
        let is_here = |it: &Arc<Instance>| it.id() == self.instance.id();
        let start = match slots.get(self.slot).is_some_and(is_here) {
            true => self.slot + 1,
            // If the instance has just gone out of rotation, another one has taken its slot.
            false => slots.iter().position(is_here).map_or(self.slot, |slot| slot + 1),
        };
        let len = slots.len();
        let around = (start..start + len).map(|slot| slot % len);
        around.filter_map(|slot| Some((slot, slots.get(slot)?))).find_map(|(slot, it)| {
            (!self.tried.contains(it.id()) && is_wanted(it)).then(|| (slot, Arc::clone(it)))
        })
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("instance", &self.instance)
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}
