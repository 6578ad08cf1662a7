//! What the driver does with the database, on the database's thread.

use std::time::{Duration, SystemTime};

use gosd_core::{Event, Instance, InstanceId, Result};
use rusqlite::Connection;
use tokio::sync::watch;
use tracing::debug;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::connection::Database;
use crate::layout::{self, Changes, Position};
use crate::options::Options;

/// The time by which no lease has run out.
const NEVER: i64 = i64::MIN;

/// The registry of one namespace in one file.
pub(crate) struct Store {
    namespace: String,
    database: Database,
    clock: Clock,
    bell: Bell,
}

/// How far a watcher has come, and in which file.
#[derive(Clone)]
pub(crate) struct Mark {
    position: Position,
    generation: u64,
}

/// What came next for a watcher.
pub(crate) struct News {
    pub(crate) events: Vec<Event>,
    pub(crate) mark: Mark,
    /// There may be more.
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
        Self { namespace, database: Database::new(path), clock: Clock::new(wall), bell }
    }

    pub(crate) fn register(&mut self, instance: &Instance, ttl: Duration) -> Result<()> {
        self.change(|db, namespace, now| layout::upsert(db, namespace, instance, now, ttl))
    }

    pub(crate) fn deregister(&mut self, id: &InstanceId) -> Result<()> {
        self.change(|db, namespace, _| layout::delete(db, namespace, id))
    }

    pub(crate) fn list(&mut self) -> Result<Vec<Instance>> {
        let now = self.judging_time()?;
        self.purge(now)?;
        self.query(|db, namespace| layout::live(db, namespace, now))
    }

    /// What came after the mark; everything there is, if there is no mark.
    ///
    /// `None` if one cannot go on from the mark: the file or the log is another by now.
    pub(crate) fn follow(&mut self, mark: Option<&Mark>) -> Result<Option<News>> {
        let now = self.judging_time()?;
        self.purge(now)?;
        let generation = self.database.generation()?;
        self.bell.listen();
        if mark.is_some_and(|mark| mark.generation != generation) {
            return Ok(None);
        }
        self.query(|db, namespace| {
            let db = db.transaction()?;
            let changes = match mark {
                Some(mark) => layout::changes(&db, namespace, &mark.position)?,
                None => Some(Changes {
                    events: vec![Event::Reset(layout::live(&db, namespace, now)?)],
                    end: layout::end_of_log(&db)?,
                    is_partial: false,
                }),
            };
            Ok(changes.map(|Changes { events, end: position, is_partial }| News {
                events,
                mark: Mark { position, generation },
                is_partial,
            }))
        })
    }

    /// The time by which leases are judged, while the clock is believed.
    fn judging_time(&mut self) -> Result<i64> {
        let Self { namespace, database, clock, .. } = self;
        clock.look(|| database.run(|db| layout::longest_lease(db, namespace)))?;
        Ok(if clock.is_believed() { clock.now() } else { NEVER })
    }

    /// Removes some of what has expired; whoever only reads does so too.
    ///
    /// # Errors
    ///
    /// If nobody can write now: those who are still alive could not renew, so nothing can be judged.
    fn purge(&mut self, now: i64) -> Result<()> {
        if now == NEVER {
            return Ok(());
        }
        match self.query(|db, namespace| layout::purge(db, namespace, now)) {
            Ok(false) => {}
            // Watchers wake, this one too, and the next of them goes on.
            Ok(true) => self.bell.ring(),
            Err(error) if error.is_retryable() => return Err(error),
            // Others may write. What cannot be removed here is not listed either.
            Err(error) => debug!(%error, "expired instances cannot be removed"),
        }
        Ok(())
    }

    fn change(
        &mut self,
        change: impl FnOnce(&Connection, &str, i64) -> rusqlite::Result<usize>,
    ) -> Result<()> {
        let now = self.clock.now();
        let changed = self.query(|db, namespace| {
            let before = db.total_changes();
            let rows = change(db, namespace, now)?;
            // What the triggers wrote to the log counts here.
            Ok(db.total_changes() - before > rows as u64)
        })?;
        if changed {
            self.bell.ring();
        }
        Ok(())
    }

    fn query<T>(
        &mut self,
        query: impl FnOnce(&mut Connection, &str) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.database.run(|db| query(db, &self.namespace))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::thread;
    use std::time::Instant;

    use super::*;

    const LEASE: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(60);

    /// A store whose wall clock is off by what a static says, in seconds.
    macro_rules! store {
        ($path:expr) => {{
            static OFF: AtomicI64 = AtomicI64::new(0);
            fn wall() -> SystemTime {
                let off = OFF.load(Ordering::Relaxed);
                let by = Duration::from_secs(off.unsigned_abs());
                if off < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
            }
            let options = Options { path: $path, namespace: "gosd".into() };
            (Store::new(options, watch::Sender::new(()), wall), &OFF)
        }};
    }

    fn instance() -> Instance {
        Instance::new("mail", "http://10.0.0.7:25").unwrap()
    }

    /// Follows until an instance has gone, renewing another.
    fn until_expired(store: &mut Store, mut mark: Mark, gone: &Instance, other: &Instance) {
        let start = Instant::now();
        while start.elapsed() < LONG {
            let renewed = Instant::now();
            store.register(other, LEASE).unwrap();
            let news = store.follow(Some(&mark)).unwrap().unwrap();
            let expired = |it: &Instance| news.events.contains(&Event::Expire(it.id().clone()));
            // Unless this thread was held up for a lease.
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
    fn after_a_jump_of_the_clock_everybody_has_a_lease_to_renew_in() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, off) = store!(folder.path().join("gosd.db"));
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
}
