//! How long it takes to read all there is, beside a bare `SELECT`.

use std::time::Instant;

use gosd_core::Client;
use gosd_testservers::PostgresServer;
use gosd_testservers::figures::{ROUNDS, compare, micros};

use crate::{open, plain};

const INSTANCES: usize = 100_000;

/// A ready cache of 100,000 instances, against the same rows by a bare `SELECT` into strings, and
/// against those rows as they come.
pub(crate) async fn measure(server: &PostgresServer) {
    open(server).await.list().await.expect("the server is up");
    fill(server).await;
    let (bare, _task) = plain(server).await;
    let [mut cache, mut strings, mut fetched] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let driver = open(server).await;
        // Connected, as the bare connection is.
        let start = Instant::now();
        let client = Client::builder(driver).start().await.expect("the server is up");
        cache.push(micros(start.elapsed()) / 1_000.0);
        let ready: usize = client.services().iter().map(|name| client.instances(name).len()).sum();
        assert_eq!(ready, INSTANCES);
        client.shutdown().await.expect("nothing is registered");

        let start = Instant::now();
        let all = "SELECT id, service, url, metadata::text FROM gosd.instances
                   WHERE namespace = 'gosd' AND expires_at > now()";
        let rows = bare.query_typed(all, &[]).await.expect("the server is up");
        fetched.push(micros(start.elapsed()) / 1_000.0);
        let all: Vec<[String; 4]> =
            rows.iter().map(|row| [0, 1, 2, 3].map(|column| row.get(column))).collect();
        strings.push(micros(start.elapsed()) / 1_000.0);
        assert_eq!(all.len(), INSTANCES);
    }
    compare(
        "100,000 instances to a ready cache, against SELECT to strings",
        "ms",
        &cache,
        &strings,
    );
    compare("  the same, against SELECT to rows", "ms", &cache, &fetched);
}

/// Registers many instances of 100 services, as the driver does.
async fn fill(server: &PostgresServer) {
    let rows = format!(
        "INSERT INTO gosd.instances (namespace, id, service, url, expires_at, lease)
         SELECT 'gosd', 'service-' || n % 100 || '-' || md5(n::text), 'service-' || n % 100,
             'http://10.0.0.7:8885', now() + interval '1 hour', interval '1 hour'
         FROM generate_series(1, {INSTANCES}) AS n"
    );
    server.sql("ALTER TABLE gosd.instances DISABLE TRIGGER USER").await;
    server.sql(&rows).await;
    server.sql("ALTER TABLE gosd.instances ENABLE TRIGGER USER").await;
    server.sql("VACUUM ANALYZE gosd.instances").await;
}
