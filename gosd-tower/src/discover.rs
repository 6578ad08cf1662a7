//! A stream of a service's instances, as tower's balancers expect it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use gosd_core::{Change, Client, Instance, InstanceId};
use tower::discover;

/// The instances of a service and their changes: a `Discover`, for tower's own balancers.
///
/// `make` turns an instance into the service that sends requests to it. An instance whose URL or metadata
/// changes is removed and inserted again. An instance that [reports](Client::report) eject is removed until
/// it is back in rotation, and so is a drained one. At the start, and for a reader that falls behind, all
/// instances are inserted. The stream ends with the client.
///
/// tower's balancers prefer instances that answer fast, and a dead instance fails fast. Without reports they
/// send it more than its share until its lease has run out. [`BalanceLayer`](crate::BalanceLayer) does not
/// have this problem.
///
/// ```
/// # fn make(gosd: gosd_core::Client) {
/// # #[derive(Clone)] struct Sender(String);
/// let senders = gosd_tower::discover(&gosd, "orders", |instance| Sender(instance.url().to_owned()));
/// # let _ = senders;
/// # }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "discover")))]
pub fn discover<S, F>(
    gosd: &Client,
    service: &str,
    make: F,
) -> impl Stream<Item = Result<discover::Change<InstanceId, S>, Infallible>> + Send + Unpin + use<S, F>
where
    F: FnMut(&Instance) -> S + Send + Unpin + 'static,
    S: Send + 'static,
{
    let known = Known { service: service.into(), make, there: HashMap::new() };
    let start = (known, VecDeque::new(), gosd.changes());
    let changes = stream::unfold(start, async |(mut known, mut due, mut changes)| {
        loop {
            if let Some(change) = due.pop_front() {
                return Some((Ok(change), (known, due, changes)));
            }
            known.follow(changes.next().await?, &mut due);
        }
    });
    Box::pin(changes)
}

/// The instances that the balancer knows.
struct Known<F> {
    service: Box<str>,
    make: F,
    there: HashMap<InstanceId, Arc<Instance>>,
}

impl<F> Known<F> {
    /// Queues what the balancer has to be told about a change.
    fn follow<S>(&mut self, change: Change, due: &mut VecDeque<discover::Change<InstanceId, S>>)
    where
        F: FnMut(&Instance) -> S,
    {
        match change {
            Change::Reset(all) => {
                let of_service = all.into_iter().filter(|it| *it.service() == *self.service);
                let now: HashMap<_, _> = of_service.map(|it| (it.id().clone(), it)).collect();
                let gone = self.there.keys().filter(|id| !now.contains_key(*id));
                for id in gone.cloned().collect::<Vec<_>>() {
                    self.remove(&id, due);
                }
                for instance in now.into_values() {
                    self.insert(instance, due);
                }
            }
            Change::Removed(it) | Change::Ejected(it) | Change::Drained(it) => {
                self.remove(it.id(), due);
            }
            Change::Added(it) | Change::Updated(it) | Change::Readmitted(it) => {
                // The instance may have moved to this service, or away from it.
                match *it.service() == *self.service {
                    true => self.insert(it, due),
                    false => self.remove(it.id(), due),
                }
            }
            _ => {}
        }
    }

    fn insert<S>(
        &mut self,
        instance: Arc<Instance>,
        due: &mut VecDeque<discover::Change<InstanceId, S>>,
    ) where
        F: FnMut(&Instance) -> S,
    {
        if self.there.get(instance.id()).is_some_and(|there| *there == instance) {
            return;
        }
        // The instance is removed first, because the balancer would otherwise keep the old one.
        self.remove(instance.id(), due);
        let id = instance.id().clone();
        due.push_back(discover::Change::Insert(id.clone(), (self.make)(&instance)));
        self.there.insert(id, instance);
    }

    fn remove<S>(&mut self, id: &InstanceId, due: &mut VecDeque<discover::Change<InstanceId, S>>) {
        if self.there.remove(id).is_some() {
            due.push_back(discover::Change::Remove(id.clone()));
        }
    }
}
