//! A service that is deployed again and again, and looks the others up all the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join3;
use gosd_core::{Both, Client, Driver, Instance, InstanceId, Registration, Settings};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::hasty::hasty;
use super::{Step, Walked};
use crate::backend::open;

/// The pause between two lookups.
const PACE: Duration = Duration::from_millis(50);
/// How often and for how long a lookup waits for a service: longer than any database is down.
const WAITS: (u32, Duration) = (15, Duration::from_secs(3));
/// For how long a service may be absent from a view. A service whose goodbye arrives after it has registered
/// again is back within a second and a call. A client that hears only one of the two databases hears the
/// other when it is tried again, at most a sixth of a lease later (2.5 s). The goodbye may come in one
/// attempt, and the registration in the next. A call takes at most a fifth of a lease (3 s).
const BLINK: Duration = Duration::from_millis(5_500);
/// How many failures are reported.
const TOLD: usize = 10;

/// The databases in which services register.
pub(super) struct Databases {
    pub(super) old: String,
    pub(super) new: String,
    /// Whether `Both` drops an instance at its first goodbye.
    pub(super) is_hasty: bool,
}

impl Databases {
    async fn driver(&self, step: Step) -> Arc<dyn Driver> {
        match step {
            Step::Old => open(&self.old).await,
            Step::New => open(&self.new).await,
            Step::Both => {
                let (old, new) = (open(&self.old).await, open(&self.new).await);
                match self.is_hasty {
                    true => Arc::new(hasty(old, new)),
                    false => Arc::new(Both::new(old, new)),
                }
            }
        }
    }
}

/// The deployments and the failed lookups of all services.
pub(super) struct Board {
    /// For each service, how often it has been deployed; `None` until it is registered again.
    deployed: Vec<Mutex<Option<u64>>>,
    counts: AtomicBool,
    /// Whether no service may be absent at all.
    is_calm: AtomicBool,
    begun: Instant,
    lookups: AtomicU64,
    findings: Mutex<(Vec<String>, Duration)>,
    failed: Notify,
}

impl Board {
    pub(super) fn new(services: usize) -> Self {
        Self {
            deployed: (0..services).map(|_| Mutex::new(Some(0))).collect(),
            counts: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            begun: Instant::now(),
            lookups: AtomicU64::new(0),
            findings: Mutex::default(),
            failed: Notify::new(),
        }
    }

    pub(super) fn begin(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }

    /// Records whether no service is being deployed and every database is up.
    pub(super) fn note_calm(&self, is_calm: bool) {
        self.is_calm.store(is_calm, Ordering::Relaxed);
    }

    /// Stops counting, and returns the results.
    pub(super) fn end(&self) -> Walked {
        self.counts.store(false, Ordering::Relaxed);
        let (failed, slowest) = self.findings().clone();
        Walked { lookups: self.lookups.load(Ordering::Relaxed), failed, slowest }
    }

    /// Waits for the first failure.
    pub(super) async fn has_failed(&self) {
        self.failed.notified().await;
    }

    fn deployed(&self, n: usize) -> Option<u64> {
        *self.deployed[n].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_deployed(&self, n: usize, times: Option<u64>) {
        *self.deployed[n].lock().unwrap_or_else(PoisonError::into_inner) = times;
    }

    fn findings(&self) -> MutexGuard<'_, (Vec<String>, Duration)> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, took: Duration, failure: Option<String>) {
        if !self.counts.load(Ordering::Relaxed) {
            return;
        }
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let mut findings = self.findings();
        findings.1 = findings.1.max(took);
        if let Some(failure) = failure
            && findings.0.len() < TOLD
        {
            findings.0.push(format!("after {:.1?}: {failure}", self.begun.elapsed()));
            self.failed.notify_one();
        }
    }
}

enum Order {
    Walk(Step),
    SeeAll,
}

/// A service, through all its deployments.
pub(super) struct Member {
    orders: mpsc::UnboundedSender<(Order, oneshot::Sender<()>)>,
    life: JoinHandle<()>,
}

impl Member {
    /// Starts the service with the old database. It keeps its id and URL.
    pub(super) async fn start(
        n: usize,
        databases: Arc<Databases>,
        board: Arc<Board>,
        seed: u64,
    ) -> Self {
        let client = deploy(n, &databases, Step::Old).await;
        let (orders, inbox) = mpsc::unbounded_channel();
        let random = fastrand::Rng::with_seed(seed ^ n as u64);
        let life = tokio::spawn(live(n, client, databases, board, inbox, random));
        Self { orders, life }
    }

    /// Deploys the service again.
    pub(super) async fn walk(&self, step: Step) {
        self.order(Order::Walk(step)).await;
    }

    /// Waits until the service sees all others.
    pub(super) async fn sees_all(&self) {
        self.order(Order::SeeAll).await;
    }

    pub(super) async fn end(self) {
        drop(self.orders);
        self.life.await.expect("a service does not panic");
    }

    async fn order(&self, order: Order) {
        let (done, is_done) = oneshot::channel();
        self.orders.send((order, done)).expect("a service lives");
        is_done.await.expect("a service lives");
    }
}

fn service(n: usize) -> String {
    format!("service-{n}")
}

fn url(n: usize) -> String {
    format!("http://10.0.0.1:{}", 1_000 + n)
}

async fn deploy(n: usize, databases: &Databases, step: Step) -> Client {
    let id = InstanceId::from(format!("{}-0", service(n)));
    let instance = Instance::from_parts(id, &service(n), &url(n), [].into());
    let settings = Settings::default().try_find_service_amount(WAITS.0);
    let settings = settings.try_find_service_delay(WAITS.1);
    Client::builder(databases.driver(step).await)
        .register_instance(instance)
        .settings(settings)
        .handle_signals(false)
        .start()
        .await
        .expect("no database refuses")
}

async fn live(
    n: usize,
    mut client: Client,
    databases: Arc<Databases>,
    board: Arc<Board>,
    mut inbox: mpsc::UnboundedReceiver<(Order, oneshot::Sender<()>)>,
    mut random: fastrand::Rng,
) {
    let mut deployments = 0;
    loop {
        let [one, two] = [(); 2].map(|()| look_up(&client, &board, random.fork()));
        let order = tokio::select! {
            order = inbox.recv() => order,
            _ = join3(one, two, registers(&client, &board, n, deployments)) => None,
        };
        let Some((order, done)) = order else { break };
        match order {
            Order::Walk(step) => {
                board.note_deployed(n, None);
                // Where the goodbye fails, the lease ends the registration.
                let _ = client.shutdown().await;
                client = deploy(n, &databases, step).await;
                deployments += 1;
            }
            Order::SeeAll => {
                while client.services().len() < board.deployed.len() {
                    sleep(PACE).await;
                }
            }
        }
        let _ = done.send(());
    }
    let _ = client.shutdown().await;
}

/// Records when the service has registered. Until then no lookup has to find it.
async fn registers(client: &Client, board: &Board, n: usize, deployments: u64) {
    let mut statuses = client.status_changes();
    while let Some(status) = statuses.next().await {
        if matches!(status.registration, Registration::Registered) {
            board.note_deployed(n, Some(deployments));
            break;
        }
    }
    std::future::pending::<()>().await;
}

/// Looks services up until it is dropped.
async fn look_up(client: &Client, board: &Board, mut random: fastrand::Rng) {
    // The deployment as of which each service was last found.
    let mut found = vec![None; board.deployed.len()];
    loop {
        let n = random.usize(..found.len());
        let begun = Instant::now();
        let deployed = board.deployed(n);
        let mut failure = None;
        if client.pick(&service(n)).is_none() && deployed.is_some() && found[n] == deployed {
            let blink = if board.is_calm.load(Ordering::Relaxed) { Duration::ZERO } else { BLINK };
            let back = timeout(blink, client.next(&service(n))).await;
            if !matches!(back, Ok(Ok(_))) && board.deployed(n) == deployed {
                failure = Some(format!("{} vanished: {:?}", service(n), client.status()));
            }
        }
        match client.next(&service(n)).await {
            Ok(instance) if instance.url() == url(n) => found[n] = deployed,
            Ok(instance) => failure = Some(format!("{instance:?} for {}", service(n))),
            Err(error) => failure = Some(format!("{error:?} for {}", service(n))),
        }
        board.note(begun.elapsed(), failure);
        sleep(PACE.mul_f64(0.5 + random.f64())).await;
    }
}
