use std::fmt;
use std::sync::OnceLock;
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

/// The driver: it hands its work to a thread of its own, since SQLite blocks.
///
/// The thread begins with the first call and ends with the driver.
pub(crate) struct Sqlite {
    options: Options,
    wall: fn() -> SystemTime,
    jobs: OnceLock<mpsc::Sender<Job>>,
    /// Told when the bell was heard.
    pub(crate) heard: watch::Sender<()>,
}

type Job = Box<dyn FnOnce(&mut Store) + Send>;

impl Sqlite {
    pub(crate) fn new(options: Options, wall: fn() -> SystemTime) -> Self {
        Self { options, wall, jobs: OnceLock::new(), heard: watch::Sender::new(()) }
    }

    /// Has the thread do something. If the caller stops waiting before it began, it is not done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, result) = oneshot::channel();
        let job = move |store: &mut Store| {
            if !reply.is_closed() {
                // Fails only if the caller has stopped waiting.
                let _ = reply.send(work(store));
            }
        };
        let gone = || Error::new(ErrorKind::Unavailable, "the thread of the database has ended");
        self.jobs().send(Box::new(job)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.jobs.get_or_init(|| {
            let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
            let mut store = Store::new(self.options.clone(), self.heard.clone(), self.wall);
            let work = move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut store);
                }
            };
            // Without the thread the queue is closed, and every call fails.
            let _ = thread::Builder::new().name("gosd-sqlite".into()).spawn(work);
            jobs
        })
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
        Some(crate::watch::follow(self))
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
