//! A simulation: what is done to a fleet, and what is measured of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gosd::Drivers;
use gosd_core::Instance;
use tokio::time::{sleep, timeout};

use crate::agent::{GUEST, LEASE, now};
use crate::backend::Backend;
use crate::bare::Sender;
use crate::crew::Crew;
use crate::look::Looks;
use crate::page::{Rollout, Row, Seen};
use crate::usage::Usage;
use crate::{reconnect, truth};

/// How long the idle fleet is watched: four heartbeats of each client.
const IDLE: Duration = Duration::from_secs(20);
/// Instances that come and go, one after the other.
const GUESTS: usize = 10;
/// The pause between two changes, in which all see the first.
const APART: Duration = Duration::from_millis(500);
/// How long a rollout takes that replaces each client once.
const ROLLOUT: Duration = Duration::from_secs(60);
/// The largest fleet that is rolled out and restarted here: what that takes of the machine grows with the square.
const LARGE: usize = 2_000;
/// How long each registry server stays killed: longer than a lease.
const KILLED: Duration = Duration::from_secs(20);
/// How long anything may take.
const LATE: Duration = Duration::from_secs(1_800);

/// Runs a fleet over a database of its own.
pub async fn simulate(driver: &str, clients: usize) -> Row {
    let mut backend = Backend::start(driver, clients).await;
    let bare = match backend.bare() {
        Some((kind, address)) => Some(bare(kind, &address, clients).await),
        None => None,
    };
    timeout(LATE, fleet(&mut backend, driver, clients, bare))
        .await
        .expect("the fleet is done in time")
}

async fn fleet(backend: &mut Backend, driver: &str, clients: usize, bare: Option<Seen>) -> Row {
    let url = backend.url();
    let mut crew = Crew::start(&url, clients).await;
    let see_all = |generation: usize| format!("see {clients} {generation}");
    crew.order(&see_all(0)).await;

    // What has no server costs its clients.
    let database = backend.database().map_or_else(|| crew.processes(), |id| vec![id]);
    let tier = backend.tier();
    let (before, tier_before) = (Usage::of(&database), Usage::of(&tier));
    let (sent_before, began) = (backend.sent().await, Instant::now());
    sleep(IDLE).await;
    let seconds = began.elapsed().as_secs_f64();
    let (idle, tier_idle) = (Usage::of(&database), Usage::of(&tier));
    let idle_cpu = (idle.cpu - before.cpu) / seconds;
    let sent = backend.sent().await;
    let idle_bytes = sent.zip(sent_before).map(|(after, before)| (after - before) / seconds);

    let began = Instant::now();
    let changes = change(&url).await;
    let arrivals = crew.arrivals(changes.len(), clients).await;
    let seconds = began.elapsed().as_secs_f64();
    let deliveries = (changes.len() * clients) as f64;
    let changed = Usage::of(&database);
    let delivery_cpu = (changed.cpu - idle.cpu - idle_cpu * seconds) / deliveries;
    let sent_after = backend.sent().await;
    let delivery_bytes = match (sent, idle_bytes, sent_after) {
        (Some(before), Some(idle), Some(after)) => {
            Some((after - before - idle * seconds) / deliveries)
        }
        _ => None,
    };
    let memory = Usage::of(&crew.processes()).memory / clients as f64;

    let mut rollout = None;
    if clients <= LARGE {
        let (before, tier_before) = (Usage::of(&database), Usage::of(&tier));
        let began = Instant::now();
        crew.order(&format!("roll {} 1", ROLLOUT.as_millis())).await;
        let lasted = began.elapsed();
        crew.order(&see_all(1)).await;
        let (after, tier_after) = (Usage::of(&database), Usage::of(&tier));
        let seconds = began.elapsed().as_secs_f64();
        rollout = Some(Rollout {
            cpu: (after.cpu - before.cpu) / seconds,
            tier_cpu: (tier_after.cpu - tier_before.cpu) / seconds,
            lasted,
            seen_after: began.elapsed() - lasted,
        });
    }

    let (mut looks, mut reconnections) = (None, None);
    if clients <= LARGE && !backend.ports().is_empty() {
        let ports = backend.ports();
        let (counted, ()) = tokio::join!(reconnect::count(&ports), backend.restart_first());
        reconnections = Some(counted);
        looks = Some(kill_each(backend, &mut crew, clients).await);
    }

    // All at once, as after a failure of the power: nobody says goodbye.
    drop(crew);
    let mut restart = None;
    if clients <= LARGE {
        let began = Instant::now();
        let mut crew = Crew::start(&url, clients).await;
        crew.order(&see_all(0)).await;
        restart = Some((began.elapsed(), Usage::of(&crew.processes()).cpu));
    }

    Row {
        driver: driver.into(),
        clients,
        seen: Seen::of(&changes, &arrivals),
        bare,
        idle_cpu,
        tier_idle_cpu: (tier_idle.cpu - tier_before.cpu) / IDLE.as_secs_f64(),
        delivery_cpu,
        delivery_bytes,
        rollout,
        restart,
        looks,
        reconnections,
        memory,
    }
}

/// Starts a tier and its clients, and does nothing but kill each of the servers in turn.
pub async fn kills(clients: usize) -> Looks {
    let mut backend = Backend::start("tier", clients).await;
    let mut crew = Crew::start(&backend.url(), clients).await;
    crew.order(&format!("see {clients} 0")).await;
    kill_each(&mut backend, &mut crew, clients).await
}

/// Kills each registry server in turn, while the clients look at what they show.
async fn kill_each(backend: &mut Backend, crew: &mut Crew, clients: usize) -> Looks {
    // Twice its time for each server, and some more until all have come home.
    let time = (2 * backend.tier().len() + 1) as u32 * KILLED;
    let looking = format!("look {} {clients}", time.as_secs());
    let port = backend.port_of_redis().expect("a tier has one");
    let (looks, (), least_left) = tokio::join!(
        crew.order(&looking),
        backend.kill_each(KILLED),
        truth::least_left(port, time)
    );
    let looks = Looks { least_left, ..Looks::of(&looks) };
    if looks.fewest < clients {
        explain(&looks, port).await;
    }
    looks
}

/// Says on the standard error what is known of the instances that clients did not show.
async fn explain(looks: &Looks, port: u16) {
    let changes = truth::changes(port).await;
    let missed = looks.notes.iter().filter(|note| note.what.starts_with("process"));
    let missing: BTreeSet<&str> = missed.map(|note| note.id.as_str()).collect();
    for id in missing {
        eprintln!("{id} was missing:");
        for note in looks.notes.iter().filter(|note| note.id == id) {
            eprintln!(
                "  from {} to {} ms: {}",
                note.from / 1_000_000,
                note.until / 1_000_000,
                note.what
            );
        }
        for change in changes.iter().filter(|change| change.id == id) {
            eprintln!("  at {} ms: the database says {}", change.at, change.op);
        }
    }
}

/// Lets instances come and go; returns when each change began, by its number.
async fn change(url: &str) -> BTreeMap<u64, u128> {
    let driver = Drivers::compiled().open(url).await.expect("a driver");
    let mut changes = BTreeMap::new();
    for number in 0..GUESTS {
        let guest = Instance::new(GUEST, &format!("http://10.9.9.{number}")).expect("good");
        changes.insert(2 * number as u64, now());
        driver.register(&guest, LEASE).await.expect("a registration");
        sleep(APART).await;
        changes.insert(2 * number as u64 + 1, now());
        driver.deregister(guest.id()).await.expect("a goodbye");
        sleep(APART).await;
    }
    changes
}

/// The same for messages of the database itself, to as many subscribers.
async fn bare(kind: &str, address: &str, subscribers: usize) -> Seen {
    let mut crew = Crew::start_bare(kind, address, subscribers).await;
    let mut sender = Sender::connect(kind, address).await;
    let mut changes = BTreeMap::new();
    for number in 0..2 * GUESTS as u64 {
        changes.insert(number, now());
        sender.send(number).await;
        sleep(APART).await;
    }
    let arrivals = timeout(LATE, crew.arrivals(changes.len(), subscribers)).await;
    Seen::of(&changes, &arrivals.expect("all arrive in time"))
}
