//! The contract itself: the trait that a driver implements, and what a watch yields.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{Instance, InstanceId, Result};

/// What gosd asks of a database: three methods, and a fourth for speed.
///
/// Core owns the timers, the jitter, the backoff, the cache and the retries; it calls
/// [`register`](Driver::register) again and again, as the heartbeat, and bounds every call in time.
/// A driver translates. What it promises:
///
/// 1. `register` is an upsert by id: twice is once, and it restarts the lease.
/// 2. After `register` returns, `list` from any client of the same backend and namespace has it.
/// 3. `deregister` of an absent id is success. It affects that id and no other.
/// 4. An instance whose lease ran out is absent from `list`, judged by the database's clock, at the
///    latest two seconds after the lease asked for, or after the least lease that the backend
///    grants if that is longer. Removing what has expired never touches what has not.
/// 5. A renewed instance stays. Renewal after the record was lost restores it.
/// 6. A failure is an error. An empty list means that there are none.
/// 7. `watch` yields [`Event::Reset`] first, then every change after that snapshot, with no gap
///    between the two.
/// 8. `watch` yields an expiry too, within the time of 4, even when nobody else renews or writes.
/// 9. An `Err` item means that contact is lost. Core backs off and polls the stream again: the
///    next item continues without a gap, or is a `Reset`. A stream that ends is opened again. A
///    dead connection is an `Err` within 10 s. A watch never sleeps to back off; dropping it frees
///    its connection.
/// 10. Every method is cancel-safe: a dropped future leaves the record as before or as after.
/// 11. Two clients and 100 concurrent registrations: all listed, once each.
/// 12. Odd but valid strings (UTF-8 metadata, spaces, slashes, 2 KiB URLs) survive the round trip.
/// 13. Two namespaces on one backend never see each other.
/// 14. A record that cannot be read does not hide the readable ones.
/// 15. A database that takes no writes is out of contact, for nobody can renew a lease there. While
///     it refuses the writes that a registration needs, `list` fails and `watch` yields an `Err`
///     within 10 s, both as `Unavailable`, and neither reports an expiry. Once it takes writes
///     again, the driver removes nothing that expired until half a lease has passed, in which the
///     living renew. A driver whose user may only read cannot find out: it reports an instance as
///     expired only when somebody else has removed the record, or is seen to renew others.
/// 16. `watch_services`, if a driver has it, keeps clauses 7 to 9 for the services that it is asked for,
///     and `list_services` has all that `list` has of them. Both may have more.
///
/// The crate `gosd-testkit` tests each clause; DRIVERS.md explains each, with a driver to start
/// from. [`Memory`](super::Memory) is the reference implementation.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a driver",
    label = "implement `gosd_core::Driver` for it, under `#[async_trait]`",
    note = "DRIVERS.md has a driver to start from"
)]
pub trait Driver: Send + Sync + 'static {
    /// Writes the whole record, whether or not it exists, and restarts its lease.
    ///
    /// # Errors
    ///
    /// [`Config`](super::ErrorKind::Config), [`Denied`](super::ErrorKind::Denied),
    /// [`Data`](super::ErrorKind::Data) and [`Unsupported`](super::ErrorKind::Unsupported) for what waiting
    /// cannot mend; [`Unavailable`](super::ErrorKind::Unavailable) and [`Timeout`](super::ErrorKind::Timeout)
    /// for what it can. The same holds for the other methods.
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()>;

    /// Removes the record, if it is there.
    ///
    /// # Errors
    ///
    /// As for [`register`](Driver::register).
    async fn deregister(&self, id: &InstanceId) -> Result<()>;

    /// Reads all live instances of the namespace, in any order.
    ///
    /// # Errors
    ///
    /// As for [`register`](Driver::register). A failure is never an empty list.
    async fn list(&self) -> Result<Vec<Instance>>;

    /// Streams a snapshot and then the changes; `None`, the default, has core poll `list`.
    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        None
    }

    /// Streams as [`watch`](Driver::watch) does, but only what concerns these services; `None`, the default,
    /// has core watch everything.
    ///
    /// To be left out unless the backend itself can tell changes apart by service, for what it saves is that
    /// changes of other services are sent. The first item is a [`Reset`](Event::Reset) with all instances of
    /// these services, as clause 16 says. An instance that moves to another service is removed, or put as one
    /// of that. What the stream yields of other services, core ignores.
    ///
    /// `services` is never empty, and a name may be any text. When a client is asked for further services,
    /// core opens another stream, and drops the one before as soon as the new one has yielded its `Reset`: for
    /// a moment there are two. A driver that has this method has `watch`, too, and one that has returned
    /// `None` is not asked again.
    fn watch_services(&self, services: &BTreeSet<String>) -> Option<BoxStream<'_, Result<Event>>> {
        let _ = services;
        None
    }

    /// Reads the live instances of these services, and perhaps others, which core ignores; by default all of
    /// the namespace.
    ///
    /// Core calls it instead of [`list`](Driver::list) while it uses
    /// [`watch_services`](Driver::watch_services).
    ///
    /// # Errors
    ///
    /// As for [`register`](Driver::register).
    async fn list_services(&self, services: &BTreeSet<String>) -> Result<Vec<Instance>> {
        let _ = services;
        self.list().await
    }

    /// The name for errors and logs, such as `redis`.
    fn name(&self) -> &str {
        "driver"
    }

    /// Whether some of those who use this registry hear of changes only when they read it, though this driver has a
    /// watch; `false` by default.
    ///
    /// A client that leaves then serves on until their next read, as it does over a driver without a watch. For
    /// drivers that are made of others, such as [`Both`](super::Both).
    fn is_polled_in_part(&self) -> bool {
        false
    }

    /// Which registry this is: the database and the namespace, without a secret; by default unknown.
    ///
    /// The snapshot file of one registry is not served as that of another, which this tells apart.
    /// The facade gives one to every driver that it opens, so a driver need not.
    fn identity(&self) -> Option<&str> {
        None
    }
}

/// One item of a [`watch`](Driver::watch).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// All that is there now; what is not in it is gone.
    Reset(Vec<Instance>),
    /// An instance that is new, or has changed.
    Put(Instance),
    /// A goodbye, or somebody's deliberate deletion.
    Remove(InstanceId),
    /// A lease that ran out in a database that takes writes; also what a driver yields that cannot
    /// tell the two apart.
    Expire(InstanceId),
    /// The connection was found alive, and no change before this item was missed.
    ///
    /// A watch that resumes after an `Err` without a `Reset` says so with this item; without it
    /// core learns of a silent recovery from its next read, within one refresh interval. A watch
    /// that tests its connection while nothing changes may yield it after each test: core then
    /// knows the time of the last contact more exactly.
    Resumed,
}
