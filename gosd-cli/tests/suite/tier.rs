//! Three registry servers of one database, as processes that are killed, frozen and restarted while clients
//! run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gosd::{Client, Driver, Drivers, Instance, Settings, View};
use gosd_testservers::free_port;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::{LATE, Place, Process};

/// How many clients there are. Each registers, and looks the others up.
const CLIENTS: usize = 60;

/// The default lease, which is so long that the test does not measure the speed of the machine.
const LEASE: Duration = Duration::from_secs(15);

/// Servers of one database. The place of a server that was killed is empty.
struct Tier {
    place: Place,
    ports: [u16; 3],
    servers: [Option<Process>; 3],
}

impl Tier {
    async fn start() -> Self {
        let mut tier = Self {
            place: Place::redis().await,
            ports: [free_port(), free_port(), free_port()],
            servers: [None, None, None],
        };
        (0..3).for_each(|server| tier.start_server(server));
        tier
    }

    fn start_server(&mut self, server: usize) {
        let address = format!("127.0.0.1:{}", self.ports[server]);
        let process = self.place.start(&["serve", &address]);
        process.wait_for("http://");
        self.servers[server] = Some(process);
    }

    fn signal(&self, server: usize, signal: Signal) {
        self.servers[server].as_ref().expect("the server runs").signal(signal);
    }

    fn url(&self) -> String {
        let [a, b, c] = self.ports;
        format!("http://127.0.0.1:{a},127.0.0.1:{b},127.0.0.1:{c}")
    }

    async fn driver(&self) -> Arc<dyn Driver> {
        Drivers::compiled().open(&self.url()).await.unwrap()
    }
}

/// Clients that look services up all the time, and a driver for the database itself.
struct Fleet {
    clients: Vec<Client>,
    lookups: Arc<AtomicU64>,
    looking: JoinHandle<()>,
    ends: Arc<AtomicBool>,
}

impl Fleet {
    async fn start(tier: &Tier) -> Self {
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            let settings = Settings::default().lease_ttl(LEASE);
            let url = format!("http://10.0.{}.{}:25", n / 250, n % 250);
            let client = Client::builder(tier.driver().await).settings(settings);
            clients.push(client.register("mail", &url).start().await.unwrap());
        }
        let is_complete =
            |client: &Client| client.instances("mail").len() == CLIENTS && is_fresh(client);
        until("all see all", || clients.iter().all(is_complete)).await;
        let (lookups, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let database = tier.place.driver().await;
        let looking = look(clients.clone(), database, Arc::clone(&lookups), Arc::clone(&ends));
        Self { clients, lookups, looking: tokio::spawn(looking), ends }
    }

    /// Lets the fleet run for a while.
    async fn go_on(&self, time: Duration) {
        let before = self.lookups.load(Ordering::Relaxed);
        sleep(time).await;
        assert!(!self.looking.is_finished(), "a look has failed");
        assert!(self.lookups.load(Ordering::Relaxed) > before, "nobody looks");
    }

    async fn are_fresh(&self) {
        until("all are in contact", || self.clients.iter().all(is_fresh)).await;
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.looking.await.expect("no look has failed");
    }
}

fn is_fresh(client: &Client) -> bool {
    matches!(client.status().view, View::Fresh)
}

async fn look(
    clients: Vec<Client>,
    database: Arc<dyn Driver>,
    lookups: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
) {
    while !ends.load(Ordering::Relaxed) {
        let registered = database.list().await.unwrap().len();
        assert_eq!(registered, CLIENTS, "a registration was lost");
        for client in &clients {
            assert!(client.pick("mail").is_some(), "a lookup found nobody");
            assert_eq!(client.instances("mail").len(), CLIENTS, "a client lost an instance");
            lookups.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_loses_nothing_with_any_one_of_three_servers() {
    let mut tier = Tier::start().await;
    let fleet = Fleet::start(&tier).await;
    for server in 0..3 {
        tier.servers[server] = None;
        fleet.go_on(Duration::from_secs(1)).await;
        fleet.are_fresh().await;
        tier.start_server(server);
    }
    // Frozen for longer than a lease: a client that could not go to another server would be gone.
    tier.signal(0, Signal::STOP);
    fleet.go_on(LEASE + Duration::from_secs(3)).await;
    fleet.are_fresh().await;
    tier.signal(0, Signal::CONT);
    // A rolling restart.
    for server in 0..3 {
        tier.signal(server, Signal::TERM);
        let ended = tier.servers[server].take().expect("the server runs").end();
        assert!(ended.0.success(), "{ended:?}");
        tier.start_server(server);
        fleet.are_fresh().await;
    }
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_a_frozen_server_reads_later_restore_no_instance() {
    let tier = Tier::start().await;
    for frozen in 0..3 {
        // Some of the drivers begin with this server.
        let mut all = Vec::new();
        for _ in 0..12 {
            all.push((tier.driver().await, Instance::new("mail", "http://10.0.0.7:25").unwrap()));
        }
        tier.signal(frozen, Signal::STOP);
        let come_and_go = all.iter().map(async |(driver, instance)| {
            driver.register(instance, LEASE).await.unwrap();
            driver.deregister(instance.id()).await.unwrap();
        });
        futures_util::future::join_all(come_and_go).await;
        tier.signal(frozen, Signal::CONT);
        let url = format!("http://127.0.0.1:{}", tier.ports[frozen]);
        let alone = Drivers::compiled().open(&url).await.unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            assert_eq!(alone.list().await.unwrap(), [], "somebody who left is back");
            sleep(Duration::from_millis(20)).await;
        }
    }
}
