//! A simulated fleet, and the measurement of what it costs its database.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use gosd_core::{Client, Instance, Result, Settings};
use tokio::time::sleep;

use crate::backend::Backend;
use crate::usage::Usage;

pub const HEADER: &str = "\
| driver | clients | all see all, s | connections | server MB | server CPU, idle | us a heartbeat | a change seen by all, ms | server us a change and watcher | bytes a change and watcher | client KB |
| ------ | ------: | -------------: | ----------: | --------: | ---------------: | -------------: | -----------------------: | -----------------------------: | -------------------------: | --------: |";

/// How long the idle fleet is measured: four heartbeats of each client.
const IDLE: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(15);
/// How many instances come and go.
const GUESTS: usize = 10;
/// How many clients start at once.
const STARTING: usize = 32;

/// Simulates a fleet, and returns the row of the table with its cost.
pub async fn simulate(backend: &Backend, size: usize) -> String {
    let empty = Usage::of(backend.process());
    let start = Instant::now();
    let clients = start_all(backend, size).await.expect("all start");
    until_all(&clients, |client| client.instances("fleet").len() == size).await;
    let complete = start.elapsed();

    let (before, sent_before) = (Usage::of(backend.process()), backend.sent().await);
    let began = Instant::now();
    sleep(IDLE).await;
    let after = Usage::of(backend.process());
    let seconds = began.elapsed().as_secs_f64();
    let cpu = after.cpu - before.cpu;
    let heartbeats = size as f64 * seconds / (LEASE.as_secs_f64() / 3.0);

    let sent = backend.sent().await;
    // The bytes per second of heartbeats and idle watches.
    let idle = sent.zip(sent_before).map(|(after, before)| (after - before) / seconds);

    let began = Instant::now();
    let driver = backend.driver().await.expect("a driver");
    for guest in 0..GUESTS {
        let guest = Instance::new("guest", &format!("http://10.9.9.{guest}:8885")).expect("good");
        driver.register(&guest, LEASE).await.expect("a registration");
        until_all(&clients, |client| client.pick("guest").is_some()).await;
        driver.deregister(guest.id()).await.expect("a goodbye");
        until_all(&clients, |client| client.pick("guest").is_none()).await;
    }
    let changes = (2 * GUESTS) as f64;
    let each = began.elapsed() / (2 * GUESTS) as u32;
    let told = changes * size as f64;
    let churned = Usage::of(backend.process());
    let busy = churned.cpu - after.cpu - cpu / seconds * began.elapsed().as_secs_f64();
    let bytes = match (sent, idle, backend.sent().await) {
        (Some(before), Some(idle), Some(after)) => {
            let idle = idle * began.elapsed().as_secs_f64();
            format!("{:.0}", (after - before - idle) / told)
        }
        _ => "-".into(),
    };
    let own = Usage::of(std::process::id()).memory;
    format!(
        "| {size} | {:.1} | {} | {:.0} | {:.1} % | {:.0} | {:.1} | {:.1} | {bytes} | {:.0} |",
        complete.as_secs_f64(),
        churned.sockets - empty.sockets.min(churned.sockets),
        churned.memory / 1e6,
        100.0 * cpu / seconds,
        1e6 * cpu / heartbeats,
        1e3 * each.as_secs_f64(),
        1e6 * busy / told,
        own / size as f64 / 1e3,
    )
}

async fn start_all(backend: &Backend, size: usize) -> Result<Vec<Client>> {
    stream::iter(0..size)
        .map(|number| async move {
            let url = format!("http://10.0.{}.{}:8885", number / 256, number % 256);
            let settings = Settings::default().lease_ttl(LEASE);
            let builder = Client::builder(backend.driver().await?).settings(settings);
            builder.register("fleet", &url).start().await
        })
        .buffer_unordered(STARTING)
        .try_collect()
        .await
}

/// Waits until something holds for every client.
async fn until_all(clients: &[Client], holds: impl Fn(&Client) -> bool) {
    let mut rest: Vec<&Client> = clients.iter().collect();
    let bound = Instant::now() + Duration::from_secs(300);
    while !rest.is_empty() {
        rest.retain(|client| !holds(client));
        assert!(Instant::now() < bound, "{} clients do not come to see it", rest.len());
        sleep(Duration::from_millis(1)).await;
    }
}
