//! The client: the public API over the state and the background tasks.

mod affinity;
mod asked;
mod attempts;
mod builder;
mod credentials;
mod departure;
mod discovery;
mod keeper;
mod lease;
mod lookup;
mod older;
mod registration;
mod reports;
mod runtime;
mod service;
mod signals;
#[cfg(test)]
mod simulation;
mod snapshot;
mod staleness;
mod start;
mod state;
mod stats;
mod streams;
mod succession;
mod tasks;
mod tell;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tracing::warn;

pub use self::attempts::{Attempts, Failure, Resend};
pub use self::builder::ClientBuilder;
pub use self::credentials::split_credentials;
use self::keeper::Reply;
use self::lease::Request;
#[doc(hidden)]
pub use self::runtime::panics_in_silence;
pub use self::service::Service;
#[cfg(fuzzing)]
pub(crate) use self::snapshot::fuzzing;
use self::start::Starting;
use self::state::State;
pub use self::stats::{Counts, ServiceStats, Stats};
use self::tasks::{AbortOnDrop, spawn};
pub use self::turn::Turn;
use crate::{
    Change, Driver, Error, Instance, InstanceId, Registration, Result, Settings, Status, View,
};

/// A client of one registry: keeps its own instance registered, and a live view of all others.
///
/// Cheap to clone; clones share one state. Dropping the last clone stops the background work at
/// once, without a goodbye: the registration ends with its lease. [`leave`](Client::leave) and
/// [`shutdown`](Client::shutdown) say goodbye.
///
/// ```
/// use std::sync::Arc;
/// use gosd_core::{Client, Memory};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let driver = Arc::new(Memory::new());
/// let client = Client::builder(driver).register("mail", "http://10.0.0.7:8885").start().await?;
/// assert_eq!(client.next("mail").await?.id(), client.id().unwrap());
/// client.shutdown().await?;
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
#[doc(alias = "Start")]
#[must_use = "dropping the last clone of a client ends its registration with the lease, without a goodbye; \
              keep it, and end with `shutdown`"]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<State>,
    id: Option<InstanceId>,
    /// Wakes the task that keeps the registration; `None` for a client that only discovers.
    lease: Option<mpsc::UnboundedSender<Request>>,
    /// Requests for a read, to the task that keeps the view.
    reads: mpsc::UnboundedSender<Reply>,
    tasks: Vec<AbortHandle>,
    /// Whether the client says goodbye by itself on a signal. Then a program that does not shut it
    /// down need not be warned.
    handles_signals: AtomicBool,
}

impl Client {
    /// Begins to build a client on a driver.
    pub fn builder(driver: Arc<dyn Driver>) -> ClientBuilder {
        ClientBuilder::new(driver)
    }

    /// Starts the background work. The future resolves with the result of the start.
    fn spawn(
        driver: Arc<dyn Driver>,
        settings: Settings,
        instance: Option<Instance>,
        registration: Registration,
        runtime: Handle,
    ) -> (Self, impl Future<Output = Result<()>> + Send) {
        let id = instance.as_ref().map(|instance| instance.id().clone());
        let state = State::new(Arc::clone(&driver), settings, instance, registration, runtime);
        let state = Arc::new(state);
        let mut tasks = Vec::new();
        let (reads, requests) = mpsc::unbounded_channel();
        let (starting, synced) = Starting::new(&state.settings);
        let keeper = keeper::run(Arc::clone(&state), Arc::clone(&driver), requests, starting);
        tasks.push(spawn(&state, keeper));
        let (lease, leased) = match id.clone() {
            None => (None, None),
            Some(id) => {
                let (lease, requests) = mpsc::unbounded_channel();
                let (starting, leased) = Starting::new(&state.settings);
                let run = lease::run(Arc::clone(&state), driver, id, requests, starting);
                tasks.push(spawn(&state, run));
                (Some(lease), Some(leased))
            }
        };
        if let Some(path) = state.settings.snapshot_path.clone() {
            tasks.push(state.runtime.spawn(snapshot::keep(Arc::clone(&state), path)));
        }
        let tasks = tasks.iter().map(JoinHandle::abort_handle).collect();
        let handles_signals = AtomicBool::new(false);
        let inner = Inner { state, id, lease, reads, tasks, handles_signals };
        let started = async move {
            let lease = async {
                match leased {
                    Some(leased) => outcome(leased, "start").await,
                    None => Ok(()),
                }
            };
            tokio::try_join!(outcome(synced, "start"), lease).map(|_| ())
        };
        (Self { inner: Arc::new(inner) }, started)
    }

    /// The id of the client's own instance; `None` for a client that only discovers.
    pub fn id(&self) -> Option<&InstanceId> {
        self.inner.id.as_ref()
    }

    /// Reads everything from the backend now; the background work makes it unnecessary.
    ///
    /// Calls that come together share one read. Cancel-safe: the read goes on without the caller.
    ///
    /// # Errors
    ///
    /// The driver's last error, after as many attempts as
    /// [`try_refresh_amount`](field@Settings::try_refresh_amount) says, and
    /// [`Closed`](crate::ErrorKind::Closed) after a shutdown. The view stays as it was.
    #[doc(alias = "Get")]
    pub async fn refresh(&self) -> Result<()> {
        let (reply, read) = oneshot::channel();
        match self.inner.reads.send(reply) {
            Ok(()) => outcome(read, "refresh").await,
            Err(_) => Err(Error::closed("refresh")),
        }
    }

    /// Reads everything if the view is not fresh; returns whether it did.
    ///
    /// Cancel-safe, as [`refresh`](Client::refresh) is.
    ///
    /// # Errors
    ///
    /// As for [`refresh`](Client::refresh).
    #[doc(alias = "UpdateByCron")]
    pub async fn refresh_if_stale(&self) -> Result<bool> {
        if matches!(self.status().view, View::Fresh) {
            return Ok(false);
        }
        self.refresh().await.map(|()| true)
    }

    /// Adds an instance for this client alone, beside those of the backend.
    ///
    /// It survives every refresh and never expires. Adding the same one twice gives the same id.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) as for [`Instance::new`].
    #[doc(alias = "AddServiceManually")]
    pub fn add_local(&self, service: &str, url: &str) -> Result<InstanceId> {
        self.inner.state.add_local(service, url)
    }

    /// Removes an instance that [`add_local`](Client::add_local) added; returns whether it was there.
    pub fn remove_local(&self, id: &InstanceId) -> bool {
        self.inner.state.remove_local(id)
    }

    /// Removes every registered instance with this URL from the backend; returns how many.
    ///
    /// A slash at the end of the URL makes no difference.
    /// For orphans: a live owner notices and comes back, and one's own instance is
    /// [`leave`](Client::leave)'s. Local entries stay.
    /// With [`watch_on_demand`](field@Settings::watch_on_demand) the client watches every service from then on.
    ///
    /// If the caller stops waiting, some may have been removed, and the others stay; calling it again is
    /// harmless.
    ///
    /// # Errors
    ///
    /// The driver's error for the read, or else for the first instance that could not be removed;
    /// the others are removed all the same.
    #[doc(alias = "DeleteServiceWithURL")]
    pub async fn deregister_url(&self, url: &str) -> Result<usize> {
        self.inner.state.asked.ask_for_everything();
        self.refresh().await?;
        let state = Arc::clone(&self.inner.state);
        let driver = state.driver("deregister_url")?;
        let ids = state.registered_at(url);
        // In a task, because the caller may be outside the runtime. The task ends with the caller.
        let mut removal = AbortOnDrop(self.inner.state.runtime.spawn(async move {
            let mut removed = 0;
            let mut failure = None;
            for id in ids {
                match state.call(&*driver, "deregister", || driver.deregister(&id)).await {
                    Ok(()) => {
                        state.deregistered(&id);
                        removed += 1;
                    }
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            failure.map_or(Ok(removed), Err)
        }));
        // This fails only if the runtime is shut down.
        (&mut removal.0).await.unwrap_or_else(|_| Err(Error::closed("deregister_url")))
    }

    /// How the client stands with its backend.
    pub fn status(&self) -> Status {
        self.inner.state.status()
    }

    /// The client's counters so far, for a status page or an exporter of metrics.
    ///
    /// They are read on request, so that they cost a pick nothing. A call looks at every service.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use gosd_core::{Client, Memory};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let client = Client::builder(Arc::new(Memory::new())).start().await?;
    /// client.add_local("mail", "http://10.0.0.7:25")?;
    /// client.pick("mail");
    /// let stats = client.stats();
    /// assert_eq!((stats.added, stats.services[0].picks), (1, 1));
    /// # Ok::<(), gosd_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn stats(&self) -> Stats {
        self.inner.state.stats()
    }

    /// The status now, and again whenever it changes; ends with the client.
    ///
    /// A slow reader gets the latest status and misses those in between. A further failure of the same kind
    /// is no change.
    pub fn status_changes(&self) -> impl Stream<Item = Status> + Send + Unpin + use<> {
        streams::status(&self.inner.state)
    }

    /// The instances now, as a [`Change::Reset`], and every change after that; ends with the client.
    ///
    /// Right behind the `Reset` comes a [`Change::Ejected`] or a [`Change::Drained`] for each of the instances that
    /// is out of rotation. A reader that falls behind gets another `Reset`, and those behind it.
    /// With [`watch_on_demand`](field@Settings::watch_on_demand) the client watches every service from the first
    /// call on. The first `Reset` then has those that it was asked for before, and the others are added.
    pub fn changes(&self) -> impl Stream<Item = Change> + Send + Unpin + use<> {
        self.inner.state.asked.ask_for_everything();
        streams::changes(Arc::clone(&self.inner.state))
    }
}

impl Inner {
    fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
        self.state.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let registration = self.state.status().registration;
        if *self.handles_signals.get_mut()
            && !self.state.is_closed()
            && matches!(registration, Registration::Registered | Registration::Retrying { .. })
        {
            warn!(
                driver = self.state.driver_name(),
                id = self.id.as_ref().map(InstanceId::as_str),
                "a registered client is dropped without a goodbye, and others are sent here until its \
                 lease of {:?} has run out; keep the client, and end with shutdown()",
                self.state.settings.lease_ttl
            );
        }
        self.stop();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("driver", &self.inner.state.driver_name())
            .field("id", &self.inner.id)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

async fn outcome(result: oneshot::Receiver<Result<()>>, operation: &str) -> Result<()> {
    result.await.unwrap_or_else(|_| Err(Error::closed(operation)))
}
