//! `Faulty`, a driver whose calls and watches fail as a test tells them to.

mod script;
mod watching;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gosd_core::{Driver, Error, ErrorKind, Event, Instance, InstanceId, Result};
use tokio::time::sleep;

use script::Shared;

/// A driver around another one, which fails, delays, loses and hangs as a test asks.
///
/// Faults are set and cleared while it is used; clones share them, and the counts of calls. All
/// delays are tokio's, so paused time works.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use gosd_core::{Driver, ErrorKind, Instance, Memory};
/// use gosd_testkit::{Fault, Faulty, Operation};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let faulty = Faulty::new(Arc::new(Memory::new()));
/// let mail = Instance::new("mail", "http://10.0.0.7:25")?;
///
/// // The next registration arrives, but its reply is lost.
/// faulty.once(Operation::Register, Fault::FailAfter(ErrorKind::Timeout));
/// assert!(faulty.register(&mail, Duration::from_secs(15)).await.is_err());
/// assert_eq!(faulty.list().await?, [mail]);
///
/// // The database is down until further notice.
/// faulty.on_all(Fault::Fail(ErrorKind::Unavailable));
/// assert!(faulty.list().await.is_err());
/// faulty.clear_all();
/// assert!(faulty.list().await.is_ok());
/// assert_eq!(faulty.calls(Operation::List), 3);
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Faulty {
    driver: Arc<dyn Driver>,
    shared: Arc<Shared>,
    polled: bool,
}

/// The methods of a [`Driver`] that a [`Faulty`] can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Driver::register`].
    Register,
    /// [`Driver::deregister`].
    Deregister,
    /// [`Driver::list`], and [`Driver::list_services`].
    List,
    /// [`Driver::watch`], and [`Driver::watch_services`]. A fault breaks its items, and those of streams that
    /// are already open.
    Watch,
}

impl Operation {
    /// All four operations.
    pub const ALL: [Self; 4] = [Self::Register, Self::Deregister, Self::List, Self::Watch];
}

/// A fault in a call, or in the items of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails, and has no effect.
    ///
    /// A watch yields an `Err`, and another one each time it is polled while the fault stands. Afterwards it
    /// yields [`Event::Resumed`] and everything that happened meanwhile.
    Fail(ErrorKind),
    /// The call takes effect, but fails: its reply is lost.
    ///
    /// A watch yields an `Err` as for `Fail`, but begins again with an [`Event::Reset`].
    FailAfter(ErrorKind),
    /// The call takes effect after this delay. If the call is dropped earlier, it has no effect.
    ///
    /// Each item of a watch is delayed by as much.
    Delay(Duration),
    /// The call waits until the fault is cleared, and takes effect then. If it is dropped earlier, it has no
    /// effect.
    ///
    /// A watch is silent until the fault is cleared.
    Hang,
    /// The call takes effect, but does not return until the fault is cleared.
    ///
    /// A watch is silent until then.
    HangAfter,
}

impl Faulty {
    /// Wraps a driver; without faults, every call goes through.
    pub fn new(driver: Arc<dyn Driver>) -> Self {
        Self { driver, shared: Arc::default(), polled: false }
    }

    /// Makes [`watch`](Driver::watch) and [`watch_services`](Driver::watch_services) return `None`, so that core
    /// polls the driver.
    #[must_use]
    pub fn without_watch(mut self) -> Self {
        self.polled = true;
        self
    }

    /// Breaks every call of an operation from now on, until [`clear`](Faulty::clear).
    ///
    /// The new fault replaces the one that stood before, and releases the calls that the old one held.
    pub fn on(&self, operation: Operation, fault: Fault) -> &Self {
        self.shared.set(operation, Some(fault));
        self
    }

    /// Breaks every call of every operation, until [`clear_all`](Faulty::clear_all).
    pub fn on_all(&self, fault: Fault) -> &Self {
        for operation in Operation::ALL {
            self.on(operation, fault);
        }
        self
    }

    /// Breaks the next call of an operation, or the next item of one watch, and no other.
    ///
    /// Faults that were queued like this take effect one after another, and before a fault that stands. A
    /// queued fault that hangs does so until [`clear`](Faulty::clear).
    pub fn once(&self, operation: Operation, fault: Fault) -> &Self {
        self.shared.push(operation, fault);
        self
    }

    /// Ends all faults of an operation, queued ones included, and releases the calls that they hold.
    pub fn clear(&self, operation: Operation) -> &Self {
        self.shared.set(operation, None);
        self
    }

    /// Ends all faults of all operations.
    pub fn clear_all(&self) -> &Self {
        for operation in Operation::ALL {
            self.clear(operation);
        }
        self
    }

    /// Ends every watch that is open now; core opens a new one.
    pub fn end_watches(&self) -> &Self {
        self.shared.end_watches();
        self
    }

    /// How many calls of an operation have begun; of `watch`, how many were opened.
    pub fn calls(&self, operation: Operation) -> usize {
        self.shared.with(operation, |script| script.calls)
    }

    /// The greatest number of calls of an operation that were under way at the same time; of `watch`, of
    /// streams that were open.
    pub fn most_at_once(&self, operation: Operation) -> usize {
        self.shared.with(operation, |script| script.most_at_once)
    }

    /// How many calls of an operation are under way now; of `watch`, how many streams are open.
    pub fn under_way(&self, operation: Operation) -> usize {
        self.shared.with(operation, |script| script.under_way)
    }

    /// Waits until so many calls of an operation have begun since the driver was made.
    ///
    /// Cancel-safe. The wait is not bounded, so put it under a timeout.
    pub async fn called(&self, operation: Operation, times: usize) {
        self.shared.until(operation, |script| script.calls >= times).await;
    }

    async fn perform<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let under_way = self.shared.begin(operation);
        match under_way.fault {
            None => call.await,
            Some(Fault::Fail(kind)) => Err(scripted(kind)),
            Some(Fault::FailAfter(kind)) => {
                call.await?;
                Err(scripted(kind))
            }
            Some(Fault::Delay(delay)) => {
                sleep(delay).await;
                call.await
            }
            Some(Fault::Hang) => {
                under_way.cleared().await;
                call.await
            }
            Some(Fault::HangAfter) => {
                let result = call.await;
                under_way.cleared().await;
                result
            }
        }
    }
}

fn scripted(kind: ErrorKind) -> Error {
    Error::new(kind, "a fault that the test asked for")
}

#[warn(clippy::missing_trait_methods, reason = "what it does not break, it passes on")]
#[async_trait]
impl Driver for Faulty {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.perform(Operation::Register, self.driver.register(instance, ttl)).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.perform(Operation::Deregister, self.driver.deregister(id)).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.perform(Operation::List, self.driver.list()).await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        if self.polled { None } else { watching::open(&*self.driver, &self.shared, None) }
    }

    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        let services = Some(services).filter(|_| !self.polled)?;
        watching::open(&*self.driver, &self.shared, Some(services))
    }

    async fn list_services(&self, services: &BTreeSet<String>) -> Result<Vec<Instance>> {
        self.perform(Operation::List, self.driver.list_services(services)).await
    }

    fn is_polled_in_part(&self) -> bool {
        self.driver.is_polled_in_part()
    }

    fn name(&self) -> &str {
        self.driver.name()
    }

    fn identity(&self) -> Option<&str> {
        self.driver.identity()
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("driver", &self.name()).finish_non_exhaustive()
    }
}
