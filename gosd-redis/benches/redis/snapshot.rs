//! How long a large snapshot takes until the cache is ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gosd_core::{Client, Driver, Instance};
use gosd_testservers::RedisServer;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use gosd_testservers::figures::{ROUNDS, compare, micros};

const INSTANCES: usize = 100_000;
const SERVICES: usize = 100;

/// A ready cache of 100,000 instances, against the same `HGETALL` into pairs of strings, and against
/// its bytes as they come from the socket.
pub(crate) async fn measure(server: &RedisServer) {
    fill(server, "gosd", INSTANCES).await;
    let url = server.url();
    let mut redis = plain(&url).await;
    let (mut cache, mut pairs, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let size = bare_read(server.port()).await;
    for _ in 0..ROUNDS {
        let driver = open(&url).await;
        let start = Instant::now();
        let client = Client::builder(driver).start().await.expect("the server is up");
        cache.push(micros(start.elapsed()) / 1_000.0);
        let ready: usize = client.services().iter().map(|name| client.instances(name).len()).sum();
        assert_eq!(ready, INSTANCES);
        client.shutdown().await.expect("nothing is registered");

        let start = Instant::now();
        let hgetall = redis::cmd("HGETALL").arg("gosd").to_owned();
        let all: Vec<(String, String)> =
            hgetall.query_async(&mut redis).await.expect("the server is up");
        pairs.push(micros(start.elapsed()) / 1_000.0);
        assert_eq!(all.len(), INSTANCES);
        drop(all);

        let start = Instant::now();
        assert_eq!(bare_read(server.port()).await, size);
        bytes.push(micros(start.elapsed()) / 1_000.0);
    }
    compare("100,000 instances to a ready cache, against HGETALL to pairs", "ms", &cache, &pairs);
    compare("  the same, against the bytes of the reply", "ms", &cache, &bytes);
    compare("  the pairs, against the bytes of the reply", "ms", &pairs, &bytes);
}

/// Registers many instances of many services, as the driver does.
pub(crate) async fn fill(server: &RedisServer, namespace: &str, count: usize) {
    const SCRIPT: &str = "for i = 2, #ARGV, 2 do
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        redis.call('ZADD', KEYS[2], ARGV[1], ARGV[i])
    end";
    let mut redis = server.connect(None).await;
    let now: (u64, u64) = redis::cmd("TIME").query_async(&mut redis).await.expect("a server");
    let script = redis::Script::new(SCRIPT);
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(1_000) {
        let mut call = script.key(namespace);
        call.key(format!("{{{namespace}}}:leases")).arg((now.0 + 3_600) * 1_000);
        for number in chunk {
            let service = format!("service-{}", number % SERVICES);
            let instance = Instance::new(&service, "http://10.0.0.7:8885").expect("a good one");
            call.arg(instance.id().as_str()).arg(instance.url());
        }
        call.invoke_async::<()>(&mut redis).await.expect("the server is up");
    }
}

/// Reads the bytes of the reply until the last one, and returns how many there were.
async fn bare_read(port: u16) -> usize {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("the server is up");
    // The answer to the second command shows where the answer to the first one ends.
    socket.write_all(b"HGETALL gosd\r\nPING\r\n").await.expect("it is connected");
    let mut buffer = vec![0; 64 * 1_024];
    let mut total = 0;
    loop {
        let count = socket.read(&mut buffer).await.expect("it is connected");
        assert!(count > 0, "the server hung up");
        total += count;
        if buffer[..count].ends_with(b"+PONG\r\n") {
            return total;
        }
    }
}

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_redis::open(url).await.expect("the URL is good")
}

/// A connection of the same client library, set up as the driver's are.
pub(crate) async fn plain(url: &str) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(Some(Duration::from_secs(10)));
    let info = redis::IntoConnectionInfo::into_connection_info(url).expect("the URL is good");
    let no_delay = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let client = redis::Client::open(info.set_tcp_settings(no_delay)).expect("the URL is good");
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    connection.expect("the server is up")
}
