//! How many heartbeats one connection sustains, and what they cost the server.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use gosd_core::Instance;
use gosd_testservers::RedisServer;

use crate::snapshot::{open, plain};
use gosd_testservers::figures::{ROUNDS, compare, percentile};

const INSTANCES: usize = 10_000;
/// How many calls are under way at a time, on the one connection.
const AT_ONCE: usize = 64;
const LEASE: Duration = Duration::from_secs(600);
/// How often each instance renews its lease with the default settings.
const PERIOD: f64 = 5.0;

/// The heartbeats that one connection sustains, against a script that does one `ZADD`, and what they
/// cost the server.
pub(crate) async fn measure(server: &RedisServer) {
    let url = server.url();
    let driver = open(&url).await;
    let instances: Vec<Instance> = (0..INSTANCES)
        .map(|_| Instance::new("mail", "http://10.0.0.7:25").expect("a good instance"))
        .collect();
    let renew_all = || async {
        stream::iter(&instances)
            .for_each_concurrent(AT_ONCE, |instance| async {
                driver.register(instance, LEASE).await.expect("the server is up");
            })
            .await;
    };
    let redis = plain(&url).await;
    let script = redis::Script::new("return redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])");
    let zadd_all = || async {
        stream::iter(&instances)
            .for_each_concurrent(AT_ONCE, |instance| {
                let mut redis = redis.clone();
                let mut call = script.key("zadd");
                call.arg(1e12).arg(instance.id().as_str());
                async move { call.invoke_async::<()>(&mut redis).await.expect("the server is up") }
            })
            .await;
    };
    renew_all().await;
    zadd_all().await;

    let (mut ours, mut bare, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = server_seconds(server).await;
        ours.push(rate(&renew_all).await);
        busy.push((server_seconds(server).await - before) / PERIOD * 100.0);
        bare.push(rate(&zadd_all).await);
    }
    compare("heartbeats on one connection, against a script of one ZADD", "a second", &ours, &bare);
    let share = percentile(&mut busy, 0.5);
    println!("10,000 instances that renew every 5 s: {share:.1} % of one core of the server");
}

async fn rate<F: Future<Output = ()>>(all: impl Fn() -> F) -> f64 {
    let start = Instant::now();
    all().await;
    INSTANCES as f64 / start.elapsed().as_secs_f64()
}

/// The time that the server has spent on its processor so far.
async fn server_seconds(server: &RedisServer) -> f64 {
    let mut redis = server.connect(None).await;
    let info: String =
        redis::cmd("INFO").arg("cpu").query_async(&mut redis).await.expect("the server is up");
    let fields = ["used_cpu_user:", "used_cpu_sys:"];
    let values = info.lines().filter_map(|line| {
        fields.iter().find_map(|field| line.strip_prefix(field)?.trim().parse::<f64>().ok())
    });
    values.sum()
}
