//! Discovery: the methods of the client that ask the view, and report how requests went.

use std::sync::Arc;

use super::Client;
use super::lookup::wait;
use super::service::Service;
use super::turn::Turn;
use crate::registry::{Selection, Standing};
use crate::{Instance, InstanceId, Outcome, Result};

impl Client {
    /// Picks the next instance of a service in turn, waiting for the service to appear.
    ///
    /// Tries at once, then waits up to
    /// [`try_find_service_amount`](field@crate::Settings::try_find_service_amount) times
    /// [`try_find_service_delay`](field@crate::Settings::try_find_service_delay), and wakes as soon as an
    /// instance is there. Cancel-safe.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](crate::ErrorKind::NotFound) if none appeared in time; the message names a
    ///   service that differs in case only;
    /// - [`Config`](crate::ErrorKind::Config) at once, if there is none and the name cannot be one;
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) likewise, if the backend has never been read, or with
    ///   [`watch_on_demand`](field@crate::Settings::watch_on_demand) not yet about this service;
    /// - [`Stale`](crate::ErrorKind::Stale) at once, if the view is older than
    ///   [`max_stale`](field@crate::Settings::max_stale) allows;
    /// - [`Closed`](crate::ErrorKind::Closed) if there is none and the client has been shut down.
    #[doc(alias = "IterateServiceRoute")]
    pub async fn next(&self, service: &str) -> Result<Arc<Instance>> {
        match self.pick(service) {
            Some(instance) => Ok(instance),
            // Boxed, since it is rare and large: every future that awaits this one would be as large.
            None => Box::pin(wait(&self.inner.state, service, || self.pick(service))).await,
        }
    }

    /// Picks the next instance of a service in turn, if there is one now.
    ///
    /// Never waits and never locks. `None` also if the view is older than
    /// [`max_stale`](field@crate::Settings::max_stale) allows, and with
    /// [`watch_on_demand`](field@crate::Settings::watch_on_demand) until the backend has answered about the
    /// service, which the first call asks for.
    ///
    /// Each thread keeps some instances of the services alive that it picked from last, of whichever
    /// client, until it picks from them again or ends: at most 64 instances of at most 64 services. A
    /// [`Service`] avoids the lookup of the name and the counting of references.
    pub fn pick(&self, service: &str) -> Option<Arc<Instance>> {
        let state = &self.inner.state;
        if state.is_too_stale() {
            return None;
        }
        let picked = state.directory.pick(service);
        if picked.is_none() {
            state.asked.ask(service);
        }
        picked
    }

    /// A handle on one service, for the hot path.
    pub fn service(&self, service: &str) -> Service {
        Service::new(Arc::clone(&self.inner.state), service, None)
    }

    /// A handle on those instances of a service that match, such as those of one zone or version.
    ///
    /// It has its own rotation, which its clones share: make it once, and keep it. After the service's
    /// rotation has changed, the next pick calls the predicate again for all instances. While all matching
    /// instances are ejected they are picked all the same, unless [`or_else_all`](Service::or_else_all) lets
    /// others serve.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use gosd_core::{Client, Memory};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let client = Client::builder(Arc::new(Memory::new())).start().await?;
    /// client.add_local("mail", "http://10.0.0.7:25")?;
    /// let mut near = client.service_where("mail", |it| it.metadata().get("zone").is_some_and(|zone| zone == "b"));
    /// assert!(near.pick().is_none());
    /// let mut near = near.or_else_all();
    /// assert!(near.pick().is_some());
    /// # Ok::<(), gosd_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn service_where(
        &self,
        service: &str,
        matches: impl Fn(&Instance) -> bool + Send + Sync + 'static,
    ) -> Service {
        let selection = Selection::new(Arc::new(matches));
        Service::new(Arc::clone(&self.inner.state), service, Some(selection))
    }

    /// Takes the next turn of a service, waiting for the service to appear, for a request that may have
    /// to try several instances.
    ///
    /// Waits as [`next`](Client::next) does. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As for [`next`](Client::next).
    pub async fn turn(&self, service: &str) -> Result<Turn> {
        let state = &self.inner.state;
        match Turn::take(state, service) {
            Some(turn) => Ok(turn),
            None => Box::pin(wait(state, service, || Turn::take(state, service))).await,
        }
    }

    /// Reports how a request to an instance went, for callers that send by other means than a [`Turn`].
    ///
    /// [`eject_after`](field@crate::Settings::eject_after) failures in a row take an instance out of the
    /// rotation of this client for [`eject_for`](field@crate::Settings::eject_for), doubled each further time
    /// up to a minute. Any answer clears the failures, and returns the instance. After that time the instance
    /// is on probation: one failure takes it out again. Requests that were [`Refused`](Outcome::Refused) take
    /// out at most half of the instances of a service, and the last one is never taken out. If the last one
    /// fails as often, all come back, because when everybody fails it is this process that is cut off. A
    /// changed record of the instance clears its failures. Nothing of this is ever written to the backend.
    ///
    /// While no request fails, an answer costs a look at a shared flag. A report is ignored if its id is not
    /// in the view, and after a shutdown.
    pub fn report(&self, id: &InstanceId, outcome: Outcome) {
        self.inner.state.report(id, outcome);
    }

    /// The instances that [reports](Client::report) have taken out of the rotation at present.
    pub fn ejected(&self) -> Vec<Arc<Instance>> {
        self.inner.state.directory.that_are(Standing::Ejected)
    }

    /// The instances that records in the registry take out of the rotation at present; see
    /// [`Instance::drain_of`].
    pub fn drained(&self) -> Vec<Arc<Instance>> {
        self.inner.state.directory.that_are(Standing::Drained)
    }

    /// The instances of a service as last known: those in rotation in the order of their turns, and
    /// after them those that are out of it for a while.
    pub fn instances(&self, service: &str) -> Vec<Arc<Instance>> {
        self.inner.state.asked.ask(service);
        self.inner.state.directory.instances(service)
    }

    /// The names of the services that have instances, sorted, as last known.
    ///
    /// With [`watch_on_demand`](field@crate::Settings::watch_on_demand) the client watches every service from
    /// the first call on, and until then knows those that it was asked for.
    pub fn services(&self) -> Vec<String> {
        self.inner.state.asked.ask_for_everything();
        self.inner.state.directory.names()
    }
}
