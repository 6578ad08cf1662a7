//! A simulation: what is done to a fleet, and what is measured of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gosd::Drivers;
use gosd_core::Instance;
use tokio::time::{sleep, timeout};

use crate::agent::{GUEST, LEASE, now};
use crate::backend::Backend;
use crate::bare::Sender;
use crate::crew::Crew;
use crate::page::{Looks, Row, Seen};
use crate::usage::Usage;

/// How long the idle fleet is watched: four heartbeats of each client.
const IDLE: Duration = Duration::from_secs(20);
/// Instances that come and go, one after the other.
const GUESTS: usize = 10;
/// The pause between two changes, in which all see the first.
const APART: Duration = Duration::from_millis(500);
/// How long a rollout takes that replaces each client once.
const ROLLOUT: Duration = Duration::from_secs(60);
/// How long each registry server stays killed: longer than a lease.
const KILLED: Duration = Duration::from_secs(20);
/// How long anything may take.
const LATE: Duration = Duration::from_secs(600);

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

    let (before, tier_at_first) = (Usage::of(&database), Usage::of(&tier));
    let began = Instant::now();
    crew.order(&format!("roll {} 1", ROLLOUT.as_millis())).await;
    let rolled = began.elapsed();
    crew.order(&see_all(1)).await;
    let rollout = began.elapsed();
    let (after, tier_after) = (Usage::of(&database), Usage::of(&tier));

    let looks = match backend.tier().len() {
        0 => None,
        servers => {
            // Twice its time for each server, and some more until all have come home.
            let looking = format!("look {}", (2 * servers + 1) as u64 * KILLED.as_secs());
            let (looks, ()) = tokio::join!(crew.order(&looking), backend.kill_each(KILLED));
            Some(Looks::of(&looks))
        }
    };

    // All at once, as after a failure of the power: nobody says goodbye.
    drop(crew);
    let began = Instant::now();
    let mut crew = Crew::start(&url, clients).await;
    crew.order(&see_all(0)).await;
    let restart = began.elapsed();

    Row {
        driver: driver.into(),
        clients,
        seen: Seen::of(&changes, &arrivals),
        bare,
        idle_cpu,
        tier_idle_cpu: (tier_idle.cpu - tier_before.cpu) / IDLE.as_secs_f64(),
        delivery_cpu,
        delivery_bytes,
        rollout_cpu: (after.cpu - before.cpu) / rollout.as_secs_f64(),
        tier_rollout_cpu: (tier_after.cpu - tier_at_first.cpu) / rollout.as_secs_f64(),
        rollout: rolled,
        seen_after: rollout - rolled,
        restart,
        looks,
        memory,
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
