//! The registry against the promises of its design.

mod aside;
mod expiries;
mod model;
mod outages;
mod properties;
mod reads;
mod scopes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Directory, Effects, Registry};
use crate::{Error, ErrorKind, Event, Instance, InstanceId, Settings};

const LEASE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(1);

fn settings() -> Settings {
    Settings::default().lease_ttl(LEASE)
}

fn unreachable() -> Error {
    Error::new(ErrorKind::Unavailable, "out of reach")
}

fn instance(id: &str, service: &str, url: &str) -> Instance {
    Instance::from_parts(id.into(), service, url, BTreeMap::new())
}

/// An instance of the service that its id begins with.
fn of(id: &str) -> Instance {
    instance(id, id.split('-').next().unwrap(), id)
}

fn all_of(ids: &[&str]) -> Vec<Instance> {
    ids.iter().map(|id| of(id)).collect()
}

fn id(id: &str) -> InstanceId {
    id.into()
}

/// How an instance that vanished is seen again.
const BACK: [fn(&mut Bench); 3] = [
    |bench| drop(bench.put("a-1")),
    |bench| drop(bench.read(&["a-1"])),
    |bench| drop(bench.reset(&["a-1"])),
];

/// A registry, its readers' side, and a clock.
struct Bench {
    registry: Registry,
    directory: Arc<Directory>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let directory = Arc::new(Directory::default());
        let registry = Registry::new(&settings(), Arc::clone(&directory));
        Self { registry, directory, now: Instant::now() }
    }

    /// In contact for a lease, so that contact is good.
    fn settled(ids: &[&str]) -> Self {
        let mut bench = Self::new();
        bench.reset(ids);
        bench.pass(LEASE);
        bench
    }

    /// As `settled`, with the own registration among the others.
    fn registered(own: &str, others: &[&str]) -> Self {
        let mut bench = Self::new();
        bench.registry.registered(&of(own), bench.now);
        bench.reset(&[&[own], others].concat());
        bench.pass(LEASE);
        bench
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.registry.drop_expired(self.now);
    }

    /// Lets time pass in which the backend is looked at twice a second, and always says this.
    fn look(&mut self, time: Duration, ids: &[&str]) {
        let until = self.now + time;
        while self.now < until {
            self.pass(until.duration_since(self.now).min(Duration::from_millis(500)));
            self.read(ids);
        }
    }

    fn registered_again(&mut self, own: &str) {
        self.registry.registered(&of(own), self.now);
    }

    fn apply(&mut self, event: Event) -> Effects {
        self.registry.apply(vec![event], self.now)
    }

    fn reset(&mut self, ids: &[&str]) -> Effects {
        self.apply(Event::Reset(all_of(ids)))
    }

    fn put(&mut self, id: &str) -> Effects {
        self.apply(Event::Put(of(id)))
    }

    fn remove(&mut self, gone: &str) -> Effects {
        self.apply(Event::Remove(id(gone)))
    }

    fn expire(&mut self, gone: &str) -> Effects {
        self.apply(Event::Expire(id(gone)))
    }

    /// A read during which nothing happens.
    fn read(&mut self, ids: &[&str]) -> Effects {
        self.registry.begin_read(self.now);
        self.finish_read(ids).expect("no snapshot came in between")
    }

    fn finish_read(&mut self, ids: &[&str]) -> Option<Effects> {
        self.registry.finish_read(all_of(ids), self.now)
    }

    fn lose_contact(&mut self) {
        self.registry.lose_contact(unreachable(), self.now);
    }

    fn misses_something(&self) -> bool {
        self.registry.rest_of_the_missing().is_some()
    }

    /// Every id that readers see, sorted.
    fn view(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for service in self.directory.names() {
            let instances = self.directory.instances(&service);
            ids.extend(instances.iter().map(|instance| instance.id().to_string()));
        }
        ids.sort();
        ids
    }
}
