//! How many heartbeats one connection sustains, beside a bare `UPDATE`.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use gosd_core::Instance;
use gosd_testservers::PostgresServer;
use gosd_testservers::figures::{ROUNDS, compare};
use tokio_postgres::types::Type;

use crate::{open, plain};

const INSTANCES: usize = 1_000;
const LEASE: Duration = Duration::from_secs(600);

/// The heartbeats that one connection sustains, against an `UPDATE` of one column by the key.
pub(crate) async fn measure(server: &PostgresServer) {
    let driver = open(server).await;
    let instances: Vec<Instance> = (0..INSTANCES)
        .map(|_| Instance::new("mail", "http://10.0.0.7:8885").expect("a good one"))
        .collect();
    let renew_all = async || {
        let calls = instances.iter().map(|instance| driver.register(instance, LEASE));
        try_join_all(calls).await.expect("the server is up");
    };
    renew_all().await;
    let (writer, _writing) = plain(server).await;
    writer
        .batch_execute(
            "SET synchronous_commit = off;
             CREATE TABLE bare (id text PRIMARY KEY, expires_at timestamptz) WITH (fillfactor = 50);
             INSERT INTO bare SELECT id, now() FROM gosd.instances",
        )
        .await
        .expect("the server is up");
    let update = "UPDATE bare SET expires_at = clock_timestamp() + interval '10 min' WHERE id = $1";
    let update_all = async || {
        let ids: Vec<&str> = instances.iter().map(|instance| instance.id().as_str()).collect();
        let parameters: Vec<_> = ids.iter().map(|id| [(id as _, Type::TEXT)]).collect();
        let calls = parameters.iter().map(|id| writer.execute_typed(update, id));
        try_join_all(calls).await.expect("the server is up");
    };

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(&renew_all).await);
        bare.push(rate(&update_all).await);
    }
    compare("heartbeats on one connection, against an UPDATE", "a second", &ours, &bare);
}

async fn rate(all: impl AsyncFn()) -> f64 {
    let start = Instant::now();
    all().await;
    INSTANCES as f64 / start.elapsed().as_secs_f64()
}
