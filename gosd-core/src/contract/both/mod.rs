//! A driver made of two, for the migration from one database to another.

mod polled;
mod side;
mod table;
mod union;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{join, try_join};
use futures_util::stream::BoxStream;

use self::polled::INTERVAL;
use self::side::Side;
use self::table::union_of;
use self::union::Union;
use super::{Driver, Error, Event, Instance, InstanceId, Result};

/// A driver made of two: it registers with both, and sees what either has.
///
/// It is for the migration from one database to another. The services go through three steps, in any
/// order and at any speed: with the old database alone, with both, and with the new one alone. Those of
/// the first and of the last step do not see each other, so they never run together; everybody else sees
/// everybody. The way back is the same, at any moment. The facade makes one of `gosdDriver` and
/// `gosdDriverAlso`.
///
/// - [`register`](Driver::register) and [`deregister`](Driver::deregister) go to both side by side. If
///   either fails, so does the call, after the other was tried: while one database is away, the lease in
///   the other is renewed all the same.
/// - [`list`](Driver::list) is what both have, or an error.
/// - [`watch`](Driver::watch) follows each side by itself. An instance is gone once neither has it. An
///   `Err` of one side is passed on, and again right behind whatever the other one says until both are
///   heard: those changes count, and say nothing of the contact.
/// - Where the two have different records of one id, the primary's counts.
/// - A side without a watch is polled, every 5 s by [default](Both::refresh_interval).
///
/// What it shows is what a client of either would: while one side is away, whoever was registered there,
/// or may be by now, stays in the view, even after a goodbye to the other, until that side says more.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use gosd_core::{Both, Driver, Instance, Memory};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let (old, new) = (Memory::new(), Memory::new());
/// let both = Both::new(Arc::new(old.clone()), Arc::new(new.clone()));
/// let [mail, late] = ["http://10.0.0.7:25", "http://10.0.0.8:25"]
///     .map(|url| Instance::new("mail", url).expect("a plain name and URL"));
/// both.register(&mail, Duration::from_secs(15)).await?;
/// new.register(&late, Duration::from_secs(15)).await?;
/// assert_eq!(old.list().await?, [mail]);
/// assert_eq!(both.list().await?.len(), 2);
/// # Ok::<(), gosd_core::Error>(())
/// # }).unwrap();
/// ```
pub struct Both {
    /// The two drivers, the primary first.
    sides: [Arc<dyn Driver>; 2],
    name: String,
    identity: Option<String>,
    refresh_interval: Duration,
}

impl Both {
    /// Makes one driver of two. The primary's record counts where the two differ.
    pub fn new(primary: Arc<dyn Driver>, also: Arc<dyn Driver>) -> Self {
        let name = format!("{} and {}", primary.name(), also.name());
        let identity = primary.identity().zip(also.identity());
        let identity = identity.map(|(one, other)| format!("{one} and {other}"));
        Self { sides: [primary, also], name, identity, refresh_interval: INTERVAL }
    }

    /// How often a side without a watch is read while somebody watches; 5 s by default.
    #[must_use]
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// Makes one call to each side, and waits for both.
    async fn each<'a, F>(&'a self, name: &str, call: impl Fn(&'a dyn Driver) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let [primary, also] = self.sides.each_ref().map(|side| {
            let call = &call;
            // A panic of one side must not affect the call of the other.
            let called = AssertUnwindSafe(async move { call(&**side).await }).catch_unwind();
            async move {
                let result = called.await.unwrap_or_else(|_| Err(Error::panicked()));
                result.map_err(|error| error.at(side.name(), name))
            }
        });
        match join(primary, also).await {
            (Ok(()), result) | (result, Ok(())) => result,
            (Err(one), Err(other)) => Err(worse(one, other)),
        }
    }
}

/// Of two errors, the one that waiting does not mend; or else the first.
fn worse(one: Error, other: Error) -> Error {
    if one.is_retryable() && !other.is_retryable() { other } else { one }
}

#[async_trait]
impl Driver for Both {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.each("register", |side| side.register(instance, ttl)).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        self.each("deregister", |side| side.deregister(id)).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        let [primary, also] = self.sides.each_ref().map(|side| async move {
            side.list().await.map_err(|error| error.at(side.name(), "list"))
        });
        let (primary, also) = try_join(primary, also).await?;
        Ok(union_of(primary, also))
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        let side = |driver| Side::new(driver, self.refresh_interval);
        let sides = self.sides.each_ref().map(|driver| side(&**driver));
        Some(Box::pin(Union::new(sides)))
    }

    fn is_polled_in_part(&self) -> bool {
        let is_polled = |side: &dyn Driver| side.is_polled_in_part() || side.watch().is_none();
        // A side that panics here does so in its watch, too, where that is an error.
        let asked = |side| catch_unwind(AssertUnwindSafe(|| is_polled(side))).unwrap_or(false);
        self.sides.iter().any(|side| asked(&**side))
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }
}

impl fmt::Debug for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Both").field("name", &self.name).finish_non_exhaustive()
    }
}
