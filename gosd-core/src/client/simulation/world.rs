//! The world of a simulation: one database, the processes around it, and the faults that can befall them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::database::{Database, Records, Serving};
use super::link::{Cut, Link, SimulatedDriver};
use super::oracle::Oracle;
use super::process::Process;
use super::{Number, SERVICE, between, chance, trace};
use crate::{Client, Instance, Settings};

pub(super) struct World {
    pub(super) origin: Instant,
    pub(super) settings: Settings,
    /// Notified whenever something changes that a message may wait for.
    pub(super) changed: Notify,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) database: Database,
    pub(super) processes: Vec<Member>,
    pub(super) oracle: Oracle,
    /// The settings of links of processes that start later.
    pub(super) lateness: Duration,
    pub(super) loss: f64,
}

/// The state of a process, as the world keeps it.
pub(super) struct Member {
    link: Link,
    client: Option<Client>,
    pub(super) registers: bool,
    pub(super) is_dead: bool,
    pub(super) has_left: bool,
    pub(super) is_frozen: bool,
    pub(super) wakers: Vec<Waker>,
    /// By how much the wall clock of the process was set forward.
    pub(super) clock_ahead: Duration,
}

impl Inner {
    pub(super) fn link(&self, number: Number) -> &Link {
        &self.processes[number].link
    }

    pub(super) fn link_mut(&mut self, number: Number) -> &mut Link {
        &mut self.processes[number].link
    }

    /// The generation of a connection: a connection of an older generation is broken.
    pub(super) fn generation(&self, number: Number) -> (u32, u32) {
        (self.database.outages, self.link(number).breaks)
    }

    /// Records that the process has received what the database said at that time.
    pub(super) fn hear(&mut self, number: Number, said_at: Instant) {
        self.oracle.hear(number, said_at);
    }

    pub(super) fn check(&mut self, number: Number, view: BTreeSet<Number>) {
        self.oracle.check(number, view, &self.database, Instant::now());
    }
}

impl World {
    pub(super) fn new(settings: Settings, flap_bound: Option<Duration>) -> Arc<Self> {
        let now = Instant::now();
        let database = Database::new(settings.lease_ttl, chance(0.5), now);
        let oracle = Oracle::new(&settings, flap_bound, now);
        let latest = match flap_bound {
            Some(_) => settings.lease_ttl / 10,
            None => settings.lease_ttl.mul_f64(0.45).min(settings.timeout.mul_f64(0.9)),
        };
        let lateness = if chance(0.5) { latest } else { Duration::ZERO };
        let loss = if chance(0.5) { 0.05 } else { 0.0 };
        let inner = Inner { database, processes: Vec::new(), oracle, lateness, loss };
        Arc::new(Self { origin: now, settings, changed: Notify::new(), inner: Mutex::new(inner) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the database, and wakes all messages that wait.
    pub(super) fn database<T>(&self, act: impl FnOnce(&mut Database, Instant) -> T) -> T {
        let result = act(&mut self.lock().database, Instant::now());
        self.changed.notify_waiters();
        result
    }

    /// Begins a trouble that all processes share.
    pub(super) fn begin_outage(&self) {
        self.lock().oracle.begin_outage(Instant::now());
    }

    pub(super) fn begin_relapse(&self) {
        self.lock().oracle.begin_relapse(Instant::now());
    }

    pub(super) fn end_outage(&self) {
        let mut inner = self.lock();
        inner.oracle.end_relapse(Instant::now());
        let until = inner.database.spares_until().max(Instant::now());
        inner.oracle.end_outage(until);
    }

    pub(super) fn serve(&self, serving: Serving) {
        trace(self.origin, || format!("the database is {serving:?}"));
        self.database(|database, now| database.serve(serving, now));
    }

    pub(super) fn copy(&self) -> Records {
        self.lock().database.copy()
    }

    pub(super) fn start_process(
        self: &Arc<Self>,
        registers: bool,
        is_pushed: bool,
        refresh: Duration,
    ) -> Number {
        let number = {
            let mut inner = self.lock();
            let latency = between(Duration::from_millis(1), self.settings.lease_ttl / 30);
            let link = Link {
                latency: latency.min(Duration::from_millis(200)),
                lateness: inner.lateness,
                loss: inner.loss,
                ..Link::default()
            };
            let number = inner.processes.len();
            trace(self.origin, || {
                format!("{number} starts, registers: {registers}, is pushed: {is_pushed}")
            });
            inner.oracle.add(is_pushed, refresh, Instant::now());
            inner.processes.push(Member {
                link,
                client: None,
                registers,
                is_dead: false,
                has_left: false,
                is_frozen: false,
                wakers: Vec::new(),
                clock_ahead: Duration::ZERO,
            });
            inner.processes.len() - 1
        };
        let world = Arc::clone(self);
        let driver = Arc::new(SimulatedDriver { world: Arc::clone(self), number, is_pushed });
        let settings = self.settings.clone().refresh_interval(refresh);
        let mut builder = Client::builder(driver).settings(settings);
        if registers {
            let id = format!("{SERVICE}-{number}").as_str().into();
            let url = format!("http://10.0.0.{number}");
            builder = builder.register_instance(Instance::from_parts(
                id,
                SERVICE,
                &url,
                std::collections::BTreeMap::new(),
            ));
        }
        let process = Process { world: Arc::clone(self), number };
        process.spawn(async move {
            let started = builder.start().await;
            let mut inner = world.lock();
            match started {
                Ok(client) => {
                    // Who watches on demand knows nothing of a service before.
                    client.pick(SERVICE);
                    inner.processes[number].client = Some(client);
                }
                Err(error) => inner.oracle.fail(format!("{number} does not start: {error}")),
            }
        });
        number
    }

    /// The numbers of the processes that run; if `found`, only of those that others should find.
    pub(super) fn running(&self, found: bool) -> Vec<Number> {
        let inner = self.lock();
        let members = inner.processes.iter().enumerate();
        let chosen = members.filter(|(_, it)| {
            !it.is_dead && !it.is_frozen && (!found || it.registers && !it.has_left)
        });
        chosen.map(|(number, _)| number).collect()
    }

    /// Ends a process without a goodbye.
    pub(super) fn kill(&self, number: Number) {
        let mut inner = self.lock();
        inner.oracle.end(number);
        let process = &mut inner.processes[number];
        process.is_dead = true;
        let (client, wakers) = (process.client.take(), std::mem::take(&mut process.wakers));
        drop(inner);
        drop(client);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn leave(self: &Arc<Self>, number: Number) {
        let mut inner = self.lock();
        let Some(client) = inner.processes[number].client.clone() else { return };
        inner.processes[number].has_left = true;
        inner.oracle.end(number);
        drop(inner);
        let process = Process { world: Arc::clone(self), number };
        process.spawn(async move {
            // The goodbye may fail, and then the lease ends the registration.
            let _ = client.leave().await;
        });
    }

    /// Makes a process read everything, and delays the answer.
    pub(super) fn read_slowly(self: &Arc<Self>, number: Number, delay: Duration) {
        let mut inner = self.lock();
        let Some(client) = inner.processes[number].client.clone() else { return };
        inner.link_mut(number).next_delay = Some(delay);
        drop(inner);
        let process = Process { world: Arc::clone(self), number };
        process.spawn(async move {
            // The read may fail, as any call may.
            let _ = client.refresh().await;
        });
    }

    /// Asks a client for another service, so that it goes over to another watch.
    pub(super) fn ask(&self, number: Number, service: &str) {
        let mut inner = self.lock();
        let Some(client) = inner.processes[number].client.clone() else { return };
        trace(self.origin, || format!("{number} is asked for {service}"));
        // The view is replaced as after a break, and so an expiry does not count at once.
        inner.oracle.disturb(number, Instant::now() + Duration::from_secs(2));
        drop(inner);
        client.pick(service);
    }

    /// Deletes the record of a living process, as somebody else may.
    pub(super) fn delete(&self, number: Number) {
        self.lock().oracle.delete(number, Instant::now());
        self.database(|database, now| database.deregister(number, now));
    }

    /// Makes the database take the leases of living processes by mistake.
    pub(super) fn take_leases(&self, numbers: &[Number]) {
        for number in numbers {
            self.lock().oracle.take_lease(*number, Instant::now());
            self.database(|database, now| database.take_lease(*number, now));
        }
    }

    pub(super) fn freeze(&self, number: Number) {
        let mut inner = self.lock();
        inner.processes[number].is_frozen = true;
        inner.oracle.freeze(number, Instant::now());
    }

    pub(super) fn thaw(&self, number: Number) {
        let mut inner = self.lock();
        inner.processes[number].is_frozen = false;
        inner.oracle.thaw(number, Instant::now());
        let wakers = std::mem::take(&mut inner.processes[number].wakers);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn cut(&self, number: Number, cut: Cut) {
        let mut inner = self.lock();
        let link = inner.link_mut(number);
        link.breaks += u32::from(cut.noisy);
        link.cut = Some(cut);
        inner.oracle.cut(number, cut.outward, Instant::now());
        drop(inner);
        self.changed.notify_waiters();
    }

    pub(super) fn mend(&self, number: Number) {
        let mut inner = self.lock();
        inner.link_mut(number).cut = None;
        inner.oracle.end_trouble(number, Instant::now());
        drop(inner);
        self.changed.notify_waiters();
    }

    pub(super) fn set_clock(&self, number: Number, ahead: Duration) {
        let mut inner = self.lock();
        inner.processes[number].clock_ahead = ahead;
        inner.oracle.disturb(number, Instant::now());
    }

    /// Drops all clients.
    pub(super) fn end(&self) {
        let clients: Vec<_> = {
            let mut inner = self.lock();
            inner.processes.iter_mut().map(|process| process.client.take()).collect()
        };
        drop(clients);
    }
}
