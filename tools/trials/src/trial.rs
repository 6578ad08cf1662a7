//! A trial: clients, instances that come and go, and faults.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gosd_core::{Client, Driver, Instance, Settings, View};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::backend::{Kind, open};
use crate::check::Terms;
use crate::counted::Counted;
use crate::fault::Fault;
use crate::freeze::freeze;
use crate::history::{Event, History, Ids, Recorder, Resources, When};
use crate::member::{self, End, Home, Member};

/// How many clients look services up.
const CLIENTS: usize = 20;
/// How many of the clients are registered as well.
const STEADY: usize = 6;
/// The service of those clients.
const SERVICE: &str = "steady";
/// Where the instances run that come and go. In each place, one instance follows another.
const PLACES: [Home; 4] = [Home::Here, Home::Here, Home::Here, Home::Process];
const LEASE: Duration = Duration::from_secs(15);
const REFRESH: Duration = Duration::from_secs(5);
/// How long instances come and go before the first fault.
const WARM: Duration = Duration::from_secs(4);
/// How often each client looks each service up.
const LOOKUP: Duration = Duration::from_millis(100);
/// How often views and the backend are compared.
const SAMPLE: Duration = Duration::from_millis(200);
/// How often the process shows that it runs.
const BEAT: Duration = Duration::from_millis(5);
/// A bound for steps that take a second or two on an idle machine.
const LATE: Duration = Duration::from_secs(60);

/// The plan of a trial.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    /// The faults, one after another.
    pub faults: Vec<Fault>,
    /// How long each fault lasts.
    pub lasting: Duration,
    /// The seed that decides which instances come and go, and when.
    pub seed: u64,
}

/// The settings of all clients: the defaults, except that no client waits after its goodbye.
pub(crate) fn settings() -> Settings {
    Settings::default().lease_ttl(LEASE).refresh_interval(REFRESH).drain(Duration::ZERO)
}

impl Plan {
    /// The plan that a seed stands for, on any backend but the tier.
    ///
    /// While the database behind a tier is away, a client's call fails at each of the servers, and each of them tries
    /// to connect for it. On a busy machine that was more often in a second than a trial allows.
    pub fn random(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kinds = Kind::ALL.iter().map(|(kind, _)| *kind).filter(|kind| *kind != Kind::Tier);
        let kinds: Vec<Kind> = kinds.collect();
        let kind = kinds[rng.usize(..kinds.len())];
        let possible = kind.faults();
        let count = rng.usize(1..=kind.most_faults());
        let faults = (0..count).map(|_| possible[rng.usize(..possible.len())]).collect();
        Self {
            kind,
            faults,
            lasting: Duration::from_millis(rng.u64(500..25_000 / count as u64)),
            seed,
        }
    }

    /// Parses what [`to_args`](Self::to_args) made.
    pub fn from_args([kind, faults, lasting, seed]: [&str; 4]) -> Result<Self, String> {
        let faults = faults.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a number"));
        let lasting = Duration::from_millis(number(lasting)?);
        Ok(Self { kind: kind.parse()?, faults, lasting, seed: number(seed)? })
    }

    /// The plan as arguments: the backend, the faults, how many milliseconds each lasts, and the seed.
    pub fn to_args(&self) -> [String; 4] {
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        let lasting = self.lasting.as_millis();
        [self.kind.to_string(), faults.join(","), lasting.to_string(), self.seed.to_string()]
    }

    /// The conditions by which the trial is checked.
    pub fn terms(&self) -> Terms {
        Terms {
            clients: CLIENTS,
            lease: LEASE,
            refresh: REFRESH,
            polls: self.kind.polls(),
            rewound: self.faults.contains(&Fault::Rewind),
            frozen: self.faults.contains(&Fault::Freeze),
            wanders: self.kind == Kind::Tier,
        }
    }

    /// Runs the trial, with the backend's files in a folder.
    pub async fn run(&self, folder: &Path) -> History {
        let recorder = Recorder::new();
        // Tokio opens sockets to wait for processes. Opened here, they are not counted as those of clients.
        Command::new("true").status().await.expect("true is installed");
        let mut backend = self.kind.start(folder, &recorder).await;
        let observer = tokio::spawn(observe(open(&backend.direct()).await, recorder.clone()));
        let beats = tokio::spawn(beat(recorder.clone()));
        sleep(SAMPLE).await;
        let empty = hold(&recorder, When::Empty);

        let url = backend.url();
        let clients = join_all((0..CLIENTS).map(|n| start(n, &url, &recorder))).await;
        let (stop, stopping) = watch::channel(false);
        let (disturb, disturbed) = watch::channel(false);
        let places = join_all(PLACES.map(|home| Member::start(home, &url, &recorder))).await;
        everybody_is_seen(&clients).await;
        // Some connections are made only when they are first needed.
        for read in join_all(clients.iter().map(Client::refresh)).await {
            read.expect("the backend is there");
        }
        let mut watchers = JoinSet::new();
        for (n, client) in clients.iter().enumerate() {
            watchers.spawn(look(n, client.clone(), recorder.clone()));
        }
        recorder.record(Event::Ready);
        sleep(SAMPLE).await;
        let steady = hold(&recorder, When::Steady);
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let places = places.into_iter().zip(PLACES).map(|(member, home)| {
            let passing = Passing {
                home,
                url: url.clone(),
                stopping: stopping.clone(),
                disturbed: disturbed.clone(),
                recorder: recorder.clone(),
            };
            tokio::spawn(passing.come_and_go(member, rng.fork()))
        });
        let places: Vec<_> = places.collect();

        sleep(WARM).await;
        for &fault in &self.faults {
            disturb.send_replace(true);
            if fault == Fault::Rewind {
                backend.remember().await;
                sleep(WARM / 4).await;
            }
            recorder.record(Event::FaultBegan);
            if fault == Fault::Freeze {
                freeze(self.lasting).await;
            } else {
                backend.begin(fault).await;
                sleep(self.lasting).await;
                recorder.record(Event::FaultEnding);
                backend.end(fault).await;
            }
            recorder.record(Event::FaultEnded);
        }
        disturb.send_replace(false);
        stop.send_replace(true);
        let members: Vec<Member> =
            join_all(places).await.into_iter().map(|member| member.expect("it lives")).collect();
        sleep(self.settling()).await;
        hold_again(&recorder, When::Settled, steady).await;

        watchers.shutdown().await;
        observer.abort();
        drop((clients, members));
        hold_again(&recorder, When::Over, empty).await;
        beats.abort();
        recorder.history()
    }

    /// How long it takes until all clients should agree, and some time to check that they do.
    fn settling(&self) -> Duration {
        let more = match self.kind {
            Kind::Tier => LEASE / 2,
            kind if kind.polls() => 2 * REFRESH + LEASE / 2,
            _ => Duration::ZERO,
        };
        LEASE + REFRESH + more + Duration::from_secs(3)
    }
}

fn hold(recorder: &Recorder, when: When) -> Resources {
    let resources = Resources::count();
    recorder.record(Event::Holds { when, resources });
    resources
}

/// Waits for resources that are about to be released.
async fn hold_again(recorder: &Recorder, when: When, before: Resources) {
    let began = Instant::now();
    let is_more = |now: Resources| now.tasks > before.tasks || now.sockets > before.sockets;
    let mut resources = Resources::count();
    while began.elapsed() < LEASE && is_more(resources) {
        sleep(SAMPLE / 10).await;
        resources = Resources::count();
    }
    recorder.record(Event::Holds { when, resources });
}

async fn start(client: usize, url: &str, recorder: &Recorder) -> Client {
    let driver = Counted { inner: open(url).await, client, recorder: recorder.clone() };
    let mut builder = Client::builder(Arc::new(driver)).settings(settings());
    if client < STEADY {
        let instance = Instance::new(SERVICE, "http://10.0.0.8:8885").expect("they are good");
        let (id, service) = (instance.id().to_string(), SERVICE.to_owned());
        recorder.record(Event::Started { id, service });
        builder = builder.register_instance(instance);
    }
    builder.start().await.expect("the backend is there")
}

async fn everybody_is_seen(clients: &[Client]) {
    let all = STEADY + PLACES.len();
    let seeing = async {
        while clients.iter().any(|client| seen(client).len() < all) {
            sleep(SAMPLE / 10).await;
        }
    };
    timeout(LATE, seeing).await.expect("all clients see all instances");
}

fn seen(client: &Client) -> Ids {
    let instances = [SERVICE, member::SERVICE].map(|service| client.instances(service));
    instances.iter().flatten().map(|instance| instance.id().to_string()).collect()
}

/// Records what a client finds, all the time.
async fn look(number: usize, client: Client, recorder: Recorder) {
    let mut lookups = interval(LOOKUP);
    let mut was_fresh = None;
    let mut sampled = Instant::now();
    loop {
        lookups.tick().await;
        for service in [SERVICE, member::SERVICE] {
            let found = client.pick(service).is_some();
            recorder.record(Event::Lookup { client: number, service: service.to_owned(), found });
        }
        let fresh = matches!(client.status().view, View::Fresh);
        if was_fresh.replace(fresh) != Some(fresh) {
            recorder.record(Event::Contact { client: number, fresh });
        }
        if sampled.elapsed() >= SAMPLE {
            sampled = Instant::now();
            recorder.record(Event::View { client: number, ids: seen(&client) });
        }
    }
}

/// Records when this process did not get to run: what was due meanwhile is done all at once afterwards.
async fn beat(recorder: Recorder) {
    loop {
        let began = Instant::now();
        sleep(BEAT).await;
        let lasted = began.elapsed();
        if lasted > 3 * BEAT {
            recorder.record(Event::Stalled { lasted });
        }
    }
}

/// Records what the backend lists, all the time.
async fn observe(driver: Arc<dyn Driver>, recorder: Recorder) {
    let mut samples = interval(SAMPLE);
    loop {
        samples.tick().await;
        let asked = Instant::now();
        if let Ok(Ok(all)) = timeout(LEASE, driver.list()).await {
            // The record that announces a goodbye is no instance.
            let all = all.iter().filter(|instance| !instance.service().starts_with("gosd."));
            let ids = all.map(|instance| instance.id().to_string()).collect();
            recorder.record_at(asked, Event::Listed { ids });
        }
    }
}

/// A place in which one instance follows another.
struct Passing {
    home: Home,
    url: String,
    stopping: watch::Receiver<bool>,
    disturbed: watch::Receiver<bool>,
    recorder: Recorder,
}

impl Passing {
    /// Returns the instance that runs at the end.
    async fn come_and_go(mut self, mut member: Member, mut rng: fastrand::Rng) -> Member {
        loop {
            let life = Duration::from_millis(rng.u64(500..2_500));
            let end = [End::Leave, End::Shutdown, End::Die][rng.usize(..3)];
            if timeout(life, self.stopping.wait_for(|stop| *stop)).await.is_ok() {
                return member;
            }
            member.end(end, || !*self.disturbed.borrow()).await;
            member = Member::start(self.home, &self.url, &self.recorder).await;
        }
    }
}
