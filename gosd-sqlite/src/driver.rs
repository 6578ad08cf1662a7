//! The driver: its methods, and the thread that does their work.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use gosd_core::{
    BoxStream, Driver, Error, ErrorKind, Event, Instance, InstanceId, Result, async_trait,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::options::Options;
use crate::store::Store;

/// How many calls may wait for the thread before further ones wait to be queued.
const QUEUE: usize = 128;

/// The driver. SQLite blocks, so the driver hands its work to its own thread.
///
/// The thread begins with the first call and ends with the driver.
pub(crate) struct Sqlite {
    options: Options,
    wall: fn() -> SystemTime,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Notified when the bell was rung.
    pub(crate) heard: watch::Sender<()>,
}

type Job = Box<dyn FnOnce(&mut Store) + Send>;

impl Sqlite {
    pub(crate) fn new(options: Options, wall: fn() -> SystemTime) -> Self {
        Self { options, wall, jobs: Mutex::new(None), heard: watch::Sender::new(()) }
    }

    /// Runs a job on the thread. A job whose caller stops waiting before the job began is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, result) = oneshot::channel();
        let job = move |store: &mut Store| {
            if !reply.is_closed() {
                // This fails only if the caller has stopped waiting for the answer.
                let _ = reply.send(work(store));
            }
        };
        let gone = || Error::new(ErrorKind::Unavailable, "the thread of the database has ended");
        self.jobs()?.send(Box::new(job)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// The queue of the thread; starts the thread if there is none.
    fn jobs(&self) -> Result<mpsc::Sender<Job>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = jobs.as_ref().filter(|jobs| !jobs.is_closed()) {
            return Ok(jobs.clone());
        }
        let (sender, mut queue) = mpsc::channel::<Job>(QUEUE);
        let mut store = Store::new(self.options.clone(), self.heard.clone(), self.wall);
        let work = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut store);
            }
        };
        thread::Builder::new().name("gosd-sqlite".into()).spawn(work).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no thread can be started").caused_by(error)
        })?;
        Ok(jobs.insert(sender).clone())
    }
}

#[async_trait]
impl Driver for Sqlite {
    async fn register(&self, instance: &Instance, ttl: Duration) -> Result<()> {
        let instance = instance.clone();
        self.run(move |store| store.register(&instance, ttl)).await
    }

    async fn deregister(&self, id: &InstanceId) -> Result<()> {
        let id = id.clone();
        self.run(move |store| store.deregister(&id)).await
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        self.run(Store::list).await
    }

    fn watch(&self) -> Option<BoxStream<'_, Result<Event>>> {
        Some(crate::watch::watch(self))
    }

    fn name(&self) -> &str {
        "sqlite"
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("options", &self.options).finish_non_exhaustive()
    }
}
