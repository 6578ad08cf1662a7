//! How the clients of a tier go to other servers and come back, while one of three restarts.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::backend::TOKEN;

/// The time in which reconnections are counted together.
const SLOT: Duration = Duration::from_millis(100);
/// How long after the signal those who had to go are counted; whoever reconnects later comes back.
const GOING: Duration = Duration::from_secs(20);
/// How long to count in all: clients come back within a minute and a half, at their next request.
const COUNTED: Duration = Duration::from_secs(110);

/// The streams of events that began, and how many at one server in one slot at most.
pub struct Reconnections {
    went: u64,
    went_at_once: u64,
    came: u64,
    came_at_once: u64,
}

impl fmt::Display for Reconnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { went, went_at_once, came, came_at_once } = self;
        write!(f, "{went} | {went_at_once} | {came} | {came_at_once}")
    }
}

/// Counts the streams that begin at each of the servers.
pub async fn count(ports: &[u16]) -> Reconnections {
    let all = join_all(ports.iter().map(|port| slots(*port))).await;
    let going = (GOING.as_millis() / SLOT.as_millis()) as usize;
    let (mut going_all, mut coming_all) = (Vec::new(), Vec::new());
    for slots in &all {
        going_all.extend(&slots[..going]);
        coming_all.extend(&slots[going..]);
    }
    let most = |slots: &[u64]| slots.iter().copied().max().unwrap_or_default();
    Reconnections {
        went: going_all.iter().sum(),
        went_at_once: most(&going_all),
        came: coming_all.iter().sum(),
        came_at_once: most(&coming_all),
    }
}

/// How many streams began at a server in each slot.
async fn slots(port: u16) -> Vec<u64> {
    let began = Instant::now();
    let count = (COUNTED.as_millis() / SLOT.as_millis()) as u32;
    let mut before = streams(port).await.unwrap_or_default();
    let mut slots = Vec::new();
    for slot in 1..=count {
        sleep_until(began + SLOT * slot).await;
        let Some(now) = streams(port).await else {
            // It is away.
            slots.push(0);
            continue;
        };
        // One that is back counts anew.
        slots.push(now.checked_sub(before).unwrap_or(now));
        before = now;
    }
    slots
}

/// How many streams of events a server has begun, by its metrics.
async fn streams(port: u16) -> Option<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!(
        "GET /metrics HTTP/1.0\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        *TOKEN
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let is_of_events = |line: &&str| {
        line.starts_with("gosd_server_requests_total{")
            && line.contains(r#"route="/v1/{namespace}/events""#)
            && line.contains(r#"method="GET""#)
            && line.contains(r#"status="200""#)
    };
    // Before the first stream there is no such line.
    let Some(line) = text.lines().find(is_of_events) else { return Some(0) };
    line.rsplit_once(' ')?.1.parse().ok()
}
