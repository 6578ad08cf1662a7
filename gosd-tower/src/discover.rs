//! A stream of a service's instances, as tower's balancers expect it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{self, Stream, StreamExt};
use gosd_core::{Change, Client, Instance, InstanceId};
use tower::discover;

/// The instances of a service in rotation and their changes: a `Discover`, for tower's own balancers.
///
/// `make` turns an instance into the service that sends requests to it. An instance whose URL or metadata
/// changes is removed and inserted again. An instance that is drained, or that [reports](Client::report) eject, is
/// removed until it is back in rotation. At the start, and for a reader that falls behind, all instances in
/// rotation are inserted. The stream ends with the client.
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
    let start = (Known::new(service, make), gosd.changes().fuse());
    let changes = stream::unfold(start, async |(mut known, mut changes)| {
        loop {
            // Everything told so far is read first: that an instance is out of rotation is told right behind the
            // instance, which is not inserted then.
            while let Some(Some(change)) = changes.next().now_or_never() {
                known.follow(change);
            }
            if let Some(change) = known.next_due() {
                return Some((Ok(change), (known, changes)));
            }
            known.follow(changes.next().await?);
        }
    });
    // tower's balancers ask again after the end, with each call.
    Box::pin(changes.fuse())
}

/// What is known of the service, and what the balancer knows of it.
struct Known<F> {
    service: Box<str>,
    make: F,
    all: HashMap<InstanceId, Arc<Instance>>,
    /// Which instances are out of rotation. Of all services, because an instance may move to this one.
    out: HashSet<InstanceId>,
    /// The instances that the balancer has.
    inserted: HashMap<InstanceId, Arc<Instance>>,
    /// About which instances the balancer may have to be told something.
    due: VecDeque<InstanceId>,
}

impl<F> Known<F> {
    fn new(service: &str, make: F) -> Self {
        Self {
            service: service.into(),
            make,
            all: HashMap::new(),
            out: HashSet::new(),
            inserted: HashMap::new(),
            due: VecDeque::new(),
        }
    }

    fn follow(&mut self, change: Change) {
        if let Some(instance) = change.instance() {
            self.due.push_back(instance.id().clone());
        }
        match change {
            Change::Reset(all) => {
                self.out.clear();
                self.all.clear();
                let of_service = all.into_iter().filter(|it| *it.service() == *self.service);
                self.all.extend(of_service.map(|it| (it.id().clone(), it)));
                self.due.extend(self.inserted.keys().chain(self.all.keys()).cloned());
            }
            Change::Removed(it) => {
                self.all.remove(it.id());
                self.out.remove(it.id());
            }
            Change::Ejected(it) | Change::Drained(it) => {
                self.out.insert(it.id().clone());
            }
            Change::Readmitted(it) => {
                self.out.remove(it.id());
            }
            // The instance may have moved to this service, or away from it.
            Change::Added(it) | Change::Updated(it) => match *it.service() == *self.service {
                true => drop(self.all.insert(it.id().clone(), it)),
                false => drop(self.all.remove(it.id())),
            },
            _ => {}
        }
    }

    /// What the balancer has to be told next.
    fn next_due<S>(&mut self) -> Option<discover::Change<InstanceId, S>>
    where
        F: FnMut(&Instance) -> S,
    {
        while let Some(id) = self.due.pop_front() {
            let wanted = self.all.get(&id).filter(|_| !self.out.contains(&id));
            if self.inserted.get(&id) == wanted {
                continue;
            }
            // The old one is removed first, because the balancer would otherwise keep it.
            if self.inserted.remove(&id).is_some() {
                self.due.push_front(id.clone());
                return Some(discover::Change::Remove(id));
            }
            if let Some(wanted) = wanted {
                self.inserted.insert(id.clone(), Arc::clone(wanted));
                return Some(discover::Change::Insert(id, (self.make)(wanted)));
            }
        }
        None
    }
}
