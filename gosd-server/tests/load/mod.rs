//! Many watchers of many changes: for a test, and at full size for the benchmark.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use gosd_core::{BoxFuture, Driver, Instance, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

const LEASE: Duration = Duration::from_secs(3_600);

pub(crate) struct Plan {
    pub(crate) watchers: usize,
    pub(crate) instances: usize,
    pub(crate) changes_per_second: u32,
    pub(crate) duration: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) changes: usize,
    /// Events that the watchers have read, without the snapshots.
    pub(crate) events: u64,
    /// Snapshots beyond each watcher's first.
    pub(crate) restarts: u64,
    /// The time in us from the call that registers to its arrival at a watcher.
    pub(crate) latencies: Vec<u64>,
}

/// Runs the load against a server. Panics if a watcher misses a change or ends with another view.
pub(crate) async fn run(address: &str, plan: &Plan) -> Report {
    let driver = gosd_http::open(&format!("http://{address}")).await.expect("a good URL");
    let started_at = Instant::now();
    let registrations = stream::iter(0..plan.instances).map(|n| put(&driver, n, started_at));
    registrations.buffer_unordered(8).try_collect::<()>().await.expect("all are registered");

    let target = Arc::new(Target::default());
    let mut watchers = JoinSet::new();
    for wave in (0..plan.watchers).collect::<Vec<_>>().chunks(50) {
        let opened = wave.iter().map(|_| Watcher::open(address, plan.instances, started_at));
        for watcher in try_join_all(opened).await.expect("a connection") {
            watchers.spawn(watcher.follow(Arc::clone(&target)));
        }
    }
    let readers = Arc::clone(&target);
    let all_read = async {
        while readers.reading.load(Ordering::Relaxed) < plan.watchers as u64 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(300), all_read).await.expect("every watcher has a snapshot");

    let changes = change(&driver, plan, started_at).await;
    let list = driver.list().await.expect("a list");
    let view = list.iter().map(|one| hash(number(one.id().as_str()), one.to_json().as_bytes()));
    target.view.store(view.fold(0, |all, one| all ^ one), Ordering::Relaxed);
    target.is_set.store(true, Ordering::Release);

    let mut report = Report { changes, ..Report::default() };
    let all = timeout(Duration::from_secs(300), watchers.join_all()).await;
    for seen in all.expect("each watcher gets to the server's view") {
        report.events += seen.events;
        report.restarts += seen.snapshots - 1;
        report.latencies.extend(seen.latencies);
    }
    report.latencies.sort_unstable();
    report
}

async fn change(driver: &Arc<dyn Driver>, plan: &Plan, started_at: Instant) -> usize {
    let mut ticks = interval(Duration::from_secs(1) / plan.changes_per_second);
    let mut under_way = JoinSet::new();
    let changes = (plan.duration.as_secs_f64() * f64::from(plan.changes_per_second)) as usize;
    for n in 0..changes {
        ticks.tick().await;
        // One instance in ten leaves, and is back a while later.
        let (driver, target) = (Arc::clone(driver), (n * 7_919) % plan.instances);
        under_way.spawn(async move {
            if n % 10 == 9 {
                driver.deregister(&format!("load-{target}").into()).await.expect("it leaves");
                sleep(Duration::from_millis(100)).await;
            }
            put(&driver, target, started_at).await.expect("it is registered");
        });
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
    changes
}

/// Registers an instance whose URL contains the time.
fn put(driver: &Arc<dyn Driver>, n: usize, started_at: Instant) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let url = format!("http://10.0.0.7:8885/{}", started_at.elapsed().as_micros());
        let id = format!("load-{n}");
        let instance = Instance::from_parts(id.into(), "load", &url, Default::default());
        driver.register(&instance, LEASE).await
    })
}

/// The view that the watchers have to reach.
#[derive(Default)]
struct Target {
    reading: AtomicU64,
    view: AtomicU64,
    is_set: AtomicBool,
}

/// A watcher that parses events by hand, to use little time of the machine that it shares with the server.
struct Watcher {
    stream: TcpStream,
    bytes: Vec<u8>,
    started_at: Instant,
    /// A hash of each instance, zero for absent ones, and the sum of all.
    hashes: Vec<u64>,
    view: u64,
    position: u64,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    events: u64,
    snapshots: u64,
    latencies: Vec<u64>,
}

#[derive(Deserialize)]
struct Snapshot<'a> {
    #[serde(borrow)]
    instances: Vec<&'a RawValue>,
}

impl Watcher {
    async fn open(address: &str, instances: usize, started_at: Instant) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        // HTTP/1.0 has no chunks to take apart.
        let request = "GET /v1/gosd/events HTTP/1.0\r\nhost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let hashes = vec![0; instances];
        let (bytes, seen) = (Vec::new(), Seen::default());
        Ok(Self { stream, bytes, started_at, hashes, view: 0, position: 0, seen })
    }

    async fn follow(mut self, target: Arc<Target>) -> Seen {
        loop {
            self.take_events(&target);
            if target.is_set.load(Ordering::Acquire)
                && self.view == target.view.load(Ordering::Relaxed)
            {
                return self.seen;
            }
            self.bytes.reserve(16 * 1_024);
            let read = self.stream.read_buf(&mut self.bytes).await.expect("the stream goes on");
            assert_ne!(read, 0, "the server ended the stream");
        }
    }

    fn take_events(&mut self, target: &Target) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut from = 0;
        while let Some(length) = bytes[from..].windows(2).position(|two| two == b"\n\n") {
            let event = str::from_utf8(&bytes[from..from + length]).expect("UTF-8");
            // The head of the answer ends with a carriage return between the two newlines.
            self.take(event.rsplit("\r\n").next().unwrap_or(event), target);
            from += length + 2;
        }
        bytes.drain(..from);
        self.bytes = bytes;
    }

    fn take(&mut self, event: &str, target: &Target) {
        let mut lines = event.lines();
        let Some(name) = lines.next().and_then(|line| line.strip_prefix("event: ")) else { return };
        let id = lines.next().and_then(|line| line.strip_prefix("id: ")).expect("an id");
        let data = lines.next().and_then(|line| line.strip_prefix("data: ")).expect("data");
        let position = id.split_once('-').expect("an epoch").1.parse().expect("a number");
        if name == "reset" {
            let snapshot: Snapshot<'_> = serde_json::from_str(data).expect("a snapshot");
            self.hashes.fill(0);
            for one in snapshot.instances {
                let n = number_in(one.get());
                self.hashes[n] = hash(n, one.get().as_bytes());
            }
            self.view = self.hashes.iter().fold(0, |all, one| all ^ one);
            if self.seen.snapshots == 0 {
                target.reading.fetch_add(1, Ordering::Relaxed);
            }
            self.seen.snapshots += 1;
        } else {
            assert_eq!(position, self.position + 1, "a change was missed");
            let n = number_in(data);
            let new = if name == "put" { hash(n, data.as_bytes()) } else { 0 };
            self.view ^= self.hashes[n] ^ new;
            self.hashes[n] = new;
            self.seen.events += 1;
            if name == "put" && n.is_multiple_of(10) {
                let put_at = data.split("8885/").nth(1).and_then(|rest| rest.split('"').next());
                let put_at: u64 = put_at.expect("a time").parse().expect("a number");
                let now = self.started_at.elapsed().as_micros() as u64;
                self.seen.latencies.push(now - put_at);
            }
        }
        self.position = position;
    }
}

fn number_in(json: &str) -> usize {
    let id = json.strip_prefix("{\"id\":\"").and_then(|rest| rest.split('"').next());
    number(id.expect("an id comes first"))
}

fn number(id: &str) -> usize {
    id.strip_prefix("load-").expect("one of ours").parse().expect("a number")
}

fn hash(n: usize, bytes: &[u8]) -> u64 {
    // FNV-1a. The hash is never zero, which stands for an absent instance.
    let seed = 0xcbf2_9ce4_8422_2325 ^ n as u64;
    let mix = |all: u64, byte: &u8| (all ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(seed, mix) | 1
}
