//! How long a change takes to reach another client's cache.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gosd_core::{Change, Client, Driver, Instance};
use gosd_testservers::RedisServer;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::snapshot::{fill, open, plain};
use gosd_testservers::figures::{ROUNDS, compare, micros, percentile};

/// How many changes a round has.
const CHANGES: usize = 100;
/// The pause before each change, since a watcher reads together what comes within 50 ms.
const APART: Duration = Duration::from_millis(100);
const LEASE: Duration = Duration::from_secs(600);
/// How many instances of other services there are in the second part.
const OTHERS: usize = 100_000;

/// From just before a change is sent until another client's cache has it, against a bare entry of a
/// stream that wakes a reader who waits for it.
pub(crate) async fn measure(server: &RedisServer) {
    let url = server.url();
    let writer = open(&url).await;
    let mut adder = plain(&url).await;
    let (cached, mut in_cache) = mpsc::unbounded_channel();
    let (woken, mut awake) = mpsc::unbounded_channel();
    let cache = follow_by_gosd(&url, cached.clone()).await;
    let reader = follow_plainly(plain(&url).await, woken);

    let mut medians = (Vec::new(), Vec::new());
    let mut tails = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut ours = changes(&*writer, &mut in_cache).await;
        let mut bare = entries(&mut adder, &mut awake).await;
        medians.0.push(percentile(&mut ours, 0.5));
        medians.1.push(percentile(&mut bare, 0.5));
        tails.0.push(percentile(&mut ours, 0.99));
        tails.1.push(percentile(&mut bare, 0.99));
    }
    compare("change to cache, median, against XADD to XREAD", "us", &medians.0, &medians.1);
    compare("change to cache, 99th percentile, against the same", "us", &tails.0, &tails.1);
    cache.abort();
    reader.abort();

    let many = format!("{url}?namespace=many");
    fill(server, "many", OTHERS).await;
    let (many_cached, mut in_many) = mpsc::unbounded_channel();
    let tasks = [follow_by_gosd(&url, cached).await, follow_by_gosd(&many, many_cached).await];
    let many_writer = open(&many).await;
    let mut medians = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut few = changes(&*writer, &mut in_cache).await;
        let mut many = changes(&*many_writer, &mut in_many).await;
        medians.0.push(percentile(&mut many, 0.5));
        medians.1.push(percentile(&mut few, 0.5));
    }
    let what = "change to cache, median, among 100,000 instances of others, against among none";
    compare(what, "us", &medians.0, &medians.1);
    tasks.iter().for_each(JoinHandle::abort);
}

/// Registers instances one after another. Returns how long each takes to arrive, in us.
async fn changes(writer: &dyn Driver, arrivals: &mut mpsc::UnboundedReceiver<Instant>) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..CHANGES {
        let instance = Instance::new("mail", "http://10.0.0.7:25").expect("a good instance");
        sleep(APART).await;
        let start = Instant::now();
        writer.register(&instance, LEASE).await.expect("the server is up");
        let arrival = arrivals.recv().await.expect("the reader lives");
        times.push(micros(arrival.duration_since(start)));
        writer.deregister(instance.id()).await.expect("the server is up");
        arrivals.recv().await.expect("the reader lives");
    }
    times
}

async fn entries(
    redis: &mut MultiplexedConnection,
    arrivals: &mut mpsc::UnboundedReceiver<Instant>,
) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..CHANGES {
        let mut add = redis::cmd("XADD");
        add.arg("bare").arg("MAXLEN").arg("~").arg(10_000).arg("*");
        add.arg(&[("op", "put"), ("id", "mail-0198f3a2"), ("url", "http://10.0.0.7:25")]);
        sleep(APART).await;
        let start = Instant::now();
        add.exec_async(redis).await.expect("the server is up");
        let arrival = arrivals.recv().await.expect("the reader lives");
        times.push(micros(arrival.duration_since(start)));
    }
    times
}

/// Reports each change as soon as the cache has it.
async fn follow_by_gosd(url: &str, arrivals: mpsc::UnboundedSender<Instant>) -> JoinHandle<()> {
    let client = Client::builder(open(url).await).start().await.expect("the server is up");
    tokio::spawn(async move {
        let mut changes = client.changes();
        while let Some(change) = changes.next().await {
            if matches!(change, Change::Added(_) | Change::Removed(_)) {
                arrivals.send(Instant::now()).expect("somebody measures");
            }
        }
    })
}

fn follow_plainly(
    mut redis: MultiplexedConnection,
    arrivals: mpsc::UnboundedSender<Instant>,
) -> JoinHandle<()> {
    type Streams = Vec<(String, Vec<(String, Vec<Value>)>)>;
    tokio::spawn(async move {
        let mut position = "0-0".to_owned();
        loop {
            let mut read = redis::cmd("XREAD");
            read.arg("BLOCK").arg(0).arg("STREAMS").arg("bare").arg(&position);
            let streams: Streams = read.query_async(&mut redis).await.expect("the server is up");
            for (id, _) in streams.into_iter().flat_map(|(_, entries)| entries) {
                arrivals.send(Instant::now()).expect("somebody measures");
                position = id;
            }
        }
    })
}
