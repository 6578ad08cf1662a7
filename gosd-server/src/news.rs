//! Who is woken by a change of the log: those who watch everything, and of the others those who asked for a
//! service that the change concerns.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::wanted::Wanted;

/// What a change of the log concerns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    Nothing,
    /// One service, and if an instance moved, the one that it left.
    Services(Arc<str>, Option<Arc<str>>),
    Everything,
}

/// Tells the watchers of a namespace that the log has changed.
#[derive(Default)]
pub(crate) struct News {
    /// Notified of every change.
    all: watch::Sender<()>,
    some: Mutex<Table>,
}

/// The watchers that asked for some services.
#[derive(Default)]
struct Table {
    /// By the service, and then by a number that each watcher has.
    by_service: HashMap<String, HashMap<u64, Arc<Notify>>>,
    last: u64,
}

/// The subscription of one watcher, which ends when it is dropped.
pub(crate) enum Subscription {
    All(watch::Receiver<()>),
    Some(Asked),
}

/// The subscription of a watcher that asked for some services.
pub(crate) struct Asked {
    news: Arc<News>,
    services: Arc<BTreeSet<String>>,
    number: u64,
    notify: Arc<Notify>,
}

impl News {
    pub(crate) fn subscribe(self: &Arc<Self>, wanted: &Wanted) -> Subscription {
        let Some(services) = wanted.services() else {
            return Subscription::All(self.all.subscribe());
        };
        let services = Arc::clone(services);
        let notify = Arc::new(Notify::new());
        let mut some = self.some();
        some.last += 1;
        let number = some.last;
        for service in &*services {
            let watchers = some.by_service.entry(service.clone()).or_default();
            watchers.insert(number, Arc::clone(&notify));
        }
        drop(some);
        Subscription::Some(Asked { news: Arc::clone(self), services, number, notify })
    }

    /// Wakes those whom a change concerns, and nobody else.
    pub(crate) fn tell(&self, concern: &Concern) {
        if *concern == Concern::Nothing {
            return;
        }
        self.all.send_replace(());
        let some = self.some();
        match concern {
            Concern::Nothing => {}
            Concern::Services(service, left) => {
                for service in std::iter::once(service).chain(left) {
                    let watchers = some.by_service.get(&**service);
                    watchers.into_iter().flat_map(HashMap::values).for_each(|it| it.notify_one());
                }
            }
            Concern::Everything => {
                some.by_service.values().flat_map(HashMap::values).for_each(|it| it.notify_one());
            }
        }
    }

    fn some(&self) -> MutexGuard<'_, Table> {
        self.some.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits for a change that concerns this watcher and came after the last call, or just before it;
    /// `false` if there never will be one. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> bool {
        match self {
            Self::All(changes) => changes.changed().await.is_ok(),
            Self::Some(asked) => {
                asked.notify.notified().await;
                true
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut some = self.news.some();
        for service in &*self.services {
            if let Some(watchers) = some.by_service.get_mut(service) {
                watchers.remove(&self.number);
                if watchers.is_empty() {
                    some.by_service.remove(service);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use futures_util::FutureExt;

    use super::*;

    fn told(subscription: &mut Subscription) -> bool {
        subscription.changed().now_or_never().is_some()
    }

    #[test]
    fn a_change_wakes_those_whom_it_concerns() {
        let (news, keys) = (Arc::new(News::default()), RandomState::new());
        let wanted = |query| Wanted::by_query(query, &keys).unwrap();
        let mut all = news.subscribe(&wanted(None));
        let mut one = news.subscribe(&wanted(Some("service=a")));
        let mut two = news.subscribe(&wanted(Some("service=a,b")));
        let mut other = news.subscribe(&wanted(Some("service=c")));
        let mut tell = |concern| {
            news.tell(&concern);
            [&mut all, &mut one, &mut two, &mut other].map(told)
        };
        let service =
            |name: &str, left: Option<&str>| Concern::Services(name.into(), left.map(Arc::from));
        assert_eq!(tell(Concern::Nothing), [false; 4]);
        assert_eq!(tell(service("a", None)), [true, true, true, false]);
        assert_eq!(tell(service("b", None)), [true, false, true, false]);
        assert_eq!(tell(service("d", Some("c"))), [true, false, false, true]);
        assert_eq!(tell(service("b", Some("b"))), [true, false, true, false], "once");
        assert_eq!(tell(Concern::Everything), [true; 4]);
        assert_eq!(tell(Concern::Nothing), [false; 4]);
    }

    #[test]
    fn nothing_is_left_of_those_who_have_gone() {
        let (news, keys) = (Arc::new(News::default()), RandomState::new());
        let wanted = Wanted::by_query(Some("service=a,b"), &keys).unwrap();
        let (one, mut other) = (news.subscribe(&wanted), news.subscribe(&wanted));
        drop(one);
        news.tell(&Concern::Services("a".into(), None));
        assert!(told(&mut other));
        drop(other);
        assert!(news.some().by_service.is_empty());
    }
}
