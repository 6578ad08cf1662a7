//! The operations of the driver on the database, on the database's thread.

use std::time::{Duration, Instant, SystemTime};

use gosd_core::{Event, Instance, InstanceId, Result};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::bell::Bell;
use crate::clock::Clock;
use crate::connection::Database;
use crate::layout::{self, Changes, Position, Read};
use crate::options::Options;
use crate::writes::Writes;

/// For how long a process that has just started removes nothing. The clock may have been set a moment
/// before its start, and the processes that know of it look once a second.
const BEGINS: Duration = Duration::from_millis(1200);

/// The registry of one namespace in one file.
pub(crate) struct Store {
    namespace: String,
    database: Database,
    clock: Clock,
    writes: Writes,
    bell: Bell,
    begun: Option<Instant>,
    has_warned: bool,
}

/// The position of a watcher, and the file that it belongs to.
#[derive(Clone)]
pub(crate) struct Mark {
    position: Position,
    generation: u64,
}

/// What a watcher yields next.
pub(crate) struct News {
    pub(crate) events: Vec<Event>,
    pub(crate) mark: Mark,
    /// Whether there may be more.
    pub(crate) is_partial: bool,
}

impl Store {
    pub(crate) fn new(
        options: Options,
        heard: watch::Sender<()>,
        wall: fn() -> SystemTime,
    ) -> Self {
        let Options { path, namespace } = options;
        let bell = Bell::new(&path, heard);
        Self {
            namespace,
            database: Database::new(path),
            clock: Clock::new(wall),
            writes: Writes::default(),
            bell,
            begun: None,
            has_warned: false,
        }
    }

    pub(crate) fn register(&mut self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.change(|db, namespace, now| layout::upsert(db, namespace, instance, now, ttl))
    }

    pub(crate) fn deregister(&mut self, id: &InstanceId) -> Result<()> {
        self.change(|db, namespace, _| layout::delete(db, namespace, id))
    }

    pub(crate) fn list(&mut self) -> Result<Vec<Instance>> {
        let now = self.look()?;
        let read = self.query(|db, namespace| layout::live(db, namespace, now))?;
        Ok(self.readable(read))
    }

    /// The changes after the mark; everything if there is no mark.
    ///
    /// `None` if the watcher cannot continue from the mark, because the file or the log is another one by
    /// now.
    pub(crate) fn follow(&mut self, mark: Option<&Mark>) -> Result<Option<News>> {
        let now = self.look()?;
        let generation = self.database.generation()?;
        self.bell.listen();
        let Some(mark) = mark else { return self.snapshot(now, generation).map(Some) };
        if mark.generation != generation {
            return Ok(None);
        }
        let changes = self.query(|db, namespace| layout::changes(db, namespace, &mark.position))?;
        let Some(Changes { events, end: position, is_partial }) = changes else { return Ok(None) };
        let events = self.readable(events);
        Ok(Some(News { events, mark: Mark { position, generation }, is_partial }))
    }

    fn snapshot(&mut self, now: i64, generation: u64) -> Result<News> {
        let (live, position) = self.query(|db, namespace| {
            let db = db.transaction()?;
            Ok((layout::live(&db, namespace, now)?, layout::end_of_log(&db)?))
        })?;
        let events = vec![Event::Reset(self.readable(live))];
        Ok(News { events, mark: Mark { position, generation }, is_partial: false })
    }

    /// Makes sure that the times of the leases can be trusted, and removes some expired instances, which a
    /// process that only discovers does as well. Returns the time by which leases expire.
    ///
    /// # Errors
    ///
    /// If no process can write now: a live instance could not renew, so an expired lease means nothing.
    fn look(&mut self) -> Result<i64> {
        let version = self.query(|db, _| layout::data_version(db))?;
        self.writes.see(version);
        let now = self.clock.now();
        if let Some(set_from) = self.clock.set_from() {
            let restart = |db: &Connection, ns: &str| layout::restart(db, ns, set_from, now);
            if !self.write(restart)? {
                // The processes that can write correct the leases when they next look. Until then this process
                // removes nothing, as if it had just started.
                self.begun = None;
            }
        }
        self.clock.believe();
        if let Some(refused) = self.writes.refused() {
            let taken_at = refused.at(now);
            if self.write(|db, namespace| layout::extend(db, namespace, taken_at, now))? {
                self.bell.ring();
            }
            self.writes.accepted();
        }
        let is_due = self.query(|db, namespace| layout::is_due(db, namespace, now))?;
        let has_just_begun = self.has_just_begun();
        let could_write = if is_due && !has_just_begun {
            let could = self.write(|db, namespace| layout::purge(db, namespace, now))?;
            // All watchers wake, this one as well, and the next of them removes more.
            if could {
                self.bell.ring();
            }
            could
        } else if is_due || self.writes.are_in_doubt() {
            self.write(|db, namespace| layout::probe(db, namespace, now))?
        } else {
            true
        };
        if could_write {
            return Ok(now);
        }
        // Whether other processes can write is unknown unless one of them is seen to renew.
        let seen = self.query(|db, namespace| layout::last_renewal(db, namespace))?;
        Ok(if has_just_begun { i64::MIN } else { now.min(seen) })
    }

    fn has_just_begun(&mut self) -> bool {
        self.begun.get_or_insert_with(Instant::now).elapsed() < BEGINS
    }

    /// Makes a write that no caller has asked for; returns whether it succeeded.
    fn write(
        &mut self,
        write: impl FnOnce(&Connection, &str) -> rusqlite::Result<()>,
    ) -> Result<bool> {
        match self.query(|db, namespace| write(db, namespace)) {
            Ok(()) => {
                self.writes.taken();
                Ok(true)
            }
            Err(error) => match self.writes.failed(error.clone()) {
                Some(error) => Err(error),
                None => {
                    debug!(%error, "this process cannot write, and others may");
                    Ok(false)
                }
            },
        }
    }

    fn change(
        &mut self,
        change: impl FnOnce(&Connection, &str, i64) -> rusqlite::Result<usize>,
    ) -> Result<()> {
        let clock = &self.clock;
        let changed = self.database.run(|db| {
            let before = db.total_changes();
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // The time is read only now, because a lease begins when it is written and not when the call
            // was made.
            let rows = change(&transaction, &self.namespace, clock.now())?;
            transaction.commit()?;
            // What the triggers wrote to the log counts here.
            Ok(db.total_changes() - before > rows as u64)
        });
        match changed {
            Ok(changed) => {
                self.writes.taken();
                if changed {
                    self.bell.ring();
                }
                Ok(())
            }
            Err(error) => {
                // Whether other processes can write or not, this call has failed.
                let outage = self.writes.failed(error.clone());
                Err(outage.unwrap_or_else(|| self.writes.as_outage(error)))
            }
        }
    }

    pub(crate) fn query<T>(
        &mut self,
        query: impl FnOnce(&mut Connection, &str) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let result = self.database.run(|db| query(db, &self.namespace));
        result.map_err(|error| self.writes.as_outage(error))
    }

    /// Leaves out records that cannot be read, and warns once.
    fn readable<T>(&mut self, read: Vec<Read<T>>) -> Vec<T> {
        let mut note = |problem: String| {
            debug!(namespace = self.namespace, "skipped: {problem}");
            if !self.has_warned {
                self.has_warned = true;
                let namespace = &self.namespace;
                warn!(
                    namespace,
                    "what cannot be read in the registry is skipped, such as {problem}"
                );
            }
        };
        read.into_iter().filter_map(|it| it.map_err(&mut note).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::thread;
    use std::time::Instant;

    use super::*;

    const LEASE: Duration = Duration::from_secs(1);
    const LATE: Duration = Duration::from_secs(60);
    const LONG_LEASE: Duration = Duration::from_secs(600);

    /// A store whose wall clock differs from the host's by the seconds in a static.
    macro_rules! store {
        ($path:expr) => {{
            static OFF: AtomicI64 = AtomicI64::new(0);
            fn wall() -> SystemTime {
                let off = OFF.load(Ordering::Relaxed);
                let by = Duration::from_secs(off.unsigned_abs());
                if off < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
            }
            let options = Options { path: $path, namespace: "gosd".into() };
            (Store::new(options, watch::Sender::new(()), wall), &OFF, wall as fn() -> SystemTime)
        }};
    }

    fn instance() -> Instance {
        Instance::new("mail", "http://10.0.0.7:25").unwrap()
    }

    /// Follows until an instance has gone, while another one is renewed.
    fn until_expired(store: &mut Store, mut mark: Mark, gone: &Instance, other: &Instance) {
        let start = Instant::now();
        while start.elapsed() < LATE {
            let renewed = Instant::now();
            store.register(other, LEASE).unwrap();
            let news = store.follow(Some(&mark)).unwrap().unwrap();
            // The triggers use the true clock, and may take the end of a lease for a goodbye.
            let expired = |it: &Instance| {
                let id = it.id().clone();
                news.events.contains(&Event::Expire(id.clone()))
                    || news.events.contains(&Event::Remove(id))
            };
            // This holds unless the thread was held up for as long as a lease.
            assert!(!expired(other) || renewed.elapsed() >= LEASE);
            if expired(gone) {
                return;
            }
            mark = news.mark;
            thread::park_timeout(Duration::from_millis(20));
        }
        panic!("it never expires");
    }

    #[test]
    fn after_a_jump_of_the_clock_every_instance_has_a_lease_to_renew() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, off, _) = store!(folder.path().join("gosd.db"));
        for hour in [3600, 0, -3600] {
            let (dead, alive) = (instance(), instance());
            let mark = store.follow(None).unwrap().unwrap().mark;
            store.register(&dead, LEASE).unwrap();
            store.register(&alive, LEASE).unwrap();
            store.list().unwrap();
            let jumped = Instant::now();
            off.store(hour, Ordering::Relaxed);
            let listed = store.list().unwrap();
            assert!(listed.len() == 2 || jumped.elapsed() >= LEASE, "{hour}: {listed:?}");
            until_expired(&mut store, mark, &dead, &alive);
            assert!(jumped.elapsed() >= LEASE, "{hour}: after {:?}", jumped.elapsed());
            store.deregister(alive.id()).unwrap();
        }
    }

    #[test]
    fn a_long_lease_does_not_keep_other_instances() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, off, _) = store!(folder.path().join("gosd.db"));
        let (dead, report) = (instance(), instance());
        store.register(&dead, LEASE).unwrap();
        store.register(&report, Duration::from_secs(86_400)).unwrap();
        store.list().unwrap();
        off.store(3600, Ordering::Relaxed);
        let start = Instant::now();
        while store.list().unwrap() != std::slice::from_ref(&report) {
            assert!(start.elapsed() < LATE);
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_process_that_starts_after_a_jump_of_the_clock_sees_living_instances() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gosd.db");
        let (mut store, off, wall) = store!(path.clone());
        let alive = instance();
        store.register(&alive, LONG_LEASE).unwrap();
        store.list().unwrap();
        off.store(3600, Ordering::Relaxed);
        let start = || {
            let options = Options { path: path.clone(), namespace: "gosd".into() };
            Store::new(options, watch::Sender::new(()), wall)
        };
        // Before any process has noticed the clock, the instance is neither listed nor removed.
        assert_eq!(start().list().unwrap(), []);
        for store in [&mut store, &mut start()] {
            assert_eq!(store.list().unwrap(), std::slice::from_ref(&alive));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_no_dead_instance() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, off, _) = store!(folder.path().join("gosd.db"));
        store.register(&instance(), LEASE).unwrap();
        off.store(-3600, Ordering::Relaxed);
        let start = Instant::now();
        while !store.list().unwrap().is_empty() {
            assert!(start.elapsed() < LATE);
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}
