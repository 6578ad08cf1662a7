//! A process of the fleet: so many clients, which do what the lines of the standard input say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt, stream};
use gosd::Drivers;
use gosd_core::{Change, Client, Result, Settings};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::time::{Instant, sleep, sleep_until};

use crate::look::look;

pub const LEASE: Duration = Duration::from_secs(15);
/// The service whose instances the clients are.
pub const FLEET: &str = "fleet";
/// The service whose instances come and go.
pub const GUEST: &str = "guest";
/// How many clients of a process start at once.
const STARTING: usize = 8;

/// When which change of [`GUEST`] was seen: the number in its URL, and ns since 1970.
pub type Arrivals = Arc<Mutex<Vec<(u64, u128)>>>;

/// Starts clients from a number on, says `ready`, and answers each line of the input with one.
pub async fn run(url: &str, first: usize, count: usize) {
    let arrivals = Arrivals::default();
    let mut clients = start_all(url, first, count, 0, &arrivals).await.expect("all start");
    println!("ready");
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| words[n].parse::<usize>().expect("a number");
        match words[0] {
            "see" => {
                // One after the other, so that to look costs little of what is measured.
                for client in &clients {
                    sees(client, number(1), number(2)).await;
                }
            }
            "roll" => {
                let pause = Duration::from_millis(number(1) as u64) / count as u32;
                let begun = Instant::now();
                for (n, client) in clients.iter_mut().enumerate() {
                    sleep_until(begun + pause * n as u32).await;
                    let new = start(url, first + n, number(2), &arrivals).await.expect("it starts");
                    // The new one serves before the old one leaves.
                    // Whose goodbye does not arrive in time is gone with its lease.
                    let _ = std::mem::replace(client, new).shutdown().await;
                }
            }
            "look" => {
                let time = Duration::from_secs(number(1) as u64);
                println!("{}", look(&clients, number(2), time).await);
                continue;
            }
            "arrivals" => {
                println!("{}", taken(&arrivals));
                continue;
            }
            other => panic!("no such command: {other}"),
        }
        println!("done");
    }
}

/// What has arrived since the last time, as one line.
pub fn taken(arrivals: &Arrivals) -> String {
    let taken = std::mem::take(&mut *arrivals.lock().unwrap_or_else(PoisonError::into_inner));
    let items: Vec<_> = taken.iter().map(|(change, at)| format!("{change}:{at}")).collect();
    items.join(" ")
}

pub fn note(arrivals: &Arrivals, change: u64) {
    let at = now();
    arrivals.lock().unwrap_or_else(PoisonError::into_inner).push((change, at));
}

/// In ns since 1970: all processes are on one machine, and have one clock.
pub fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_nanos()
}

async fn start_all(
    url: &str,
    first: usize,
    count: usize,
    generation: usize,
    arrivals: &Arrivals,
) -> Result<Vec<Client>> {
    stream::iter(first..first + count)
        .map(|number| start(url, number, generation, arrivals))
        .buffered(STARTING)
        .try_collect()
        .await
}

async fn start(url: &str, number: usize, generation: usize, arrivals: &Arrivals) -> Result<Client> {
    let own = format!("http://10.0.{}.{}:{}", number / 256, number % 256, 8_000 + generation);
    let settings = Settings::default().lease_ttl(LEASE);
    let builder = Client::builder(Drivers::compiled().open(url).await?).settings(settings);
    let client = builder.register(FLEET, &own).start().await?;
    let (mut changes, arrivals) = (client.changes(), Arc::clone(arrivals));
    // It ends with the client.
    tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            // What comes has an even number, and what goes the odd one after it.
            let (guest, is_gone) = match &change {
                Change::Added(it) => (it, 0),
                Change::Removed(it) => (it, 1),
                _ => continue,
            };
            if guest.service() == GUEST {
                let number = guest.url().rsplit('.').next().and_then(|it| it.parse::<u64>().ok());
                note(&arrivals, 2 * number.expect("a number is in its URL") + is_gone);
            }
        }
    });
    Ok(client)
}

/// Waits until a client sees so many instances of a generation, and no others.
async fn sees(client: &Client, count: usize, generation: usize) {
    let end = format!(":{}", 8_000 + generation);
    loop {
        let all = client.instances(FLEET);
        if all.len() == count && all.iter().all(|it| it.url().ends_with(&end)) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
