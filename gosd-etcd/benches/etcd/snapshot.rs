//! How long a large snapshot takes until the cache is ready.

use std::time::Instant;

use etcd_client::{GetOptions, PutOptions, Txn, TxnOp};
use gosd_core::{Client, Instance};
use gosd_testservers::EtcdServer;

use crate::{large, open, plain};
use gosd_testservers::figures::{ROUNDS, compare, micros};

const INSTANCES: usize = 100_000;
const SERVICES: usize = 100;
/// The most operations that etcd takes in one transaction.
const TRANSACTION: usize = 128;
const PREFIX: &str = "/gosd/instances/";

/// A ready cache of 100,000 instances, against fetching the same range alone, with its JSON decoded
/// and without.
pub(crate) async fn measure(etcd: &EtcdServer) {
    fill(etcd).await;
    let mut kv = large(&plain(etcd).await);
    let (mut cache, mut decoded, mut fetched) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let driver = open(etcd).await;
        let start = Instant::now();
        let client = Client::builder(driver).start().await.expect("the server is up");
        cache.push(micros(start.elapsed()) / 1_000.0);
        let ready: usize = client.services().iter().map(|name| client.instances(name).len()).sum();
        assert_eq!(ready, INSTANCES);
        client.shutdown().await.expect("nothing is registered");

        let start = Instant::now();
        let range = GetOptions::new().with_prefix();
        let reply = kv.get(PREFIX, Some(range)).await.expect("the server is up");
        fetched.push(micros(start.elapsed()) / 1_000.0);
        let json = reply.kvs().iter().map(|record| record.value_str().expect("text"));
        let all: Vec<Instance> =
            json.map(|json| Instance::from_json(json).expect("an instance")).collect();
        decoded.push(micros(start.elapsed()) / 1_000.0);
        assert_eq!(all.len(), INSTANCES);
    }
    compare(
        "100,000 instances to a ready cache, against fetched and decoded",
        "ms",
        &cache,
        &decoded,
    );
    compare("  the same, against fetched only", "ms", &cache, &fetched);
}

async fn fill(etcd: &EtcdServer) {
    let mut writer = plain(etcd).await;
    let lease = writer.lease_grant(3_600, None).await.expect("the server is up").id();
    let numbers: Vec<usize> = (0..INSTANCES).collect();
    for chunk in numbers.chunks(TRANSACTION) {
        let puts: Vec<TxnOp> = chunk
            .iter()
            .map(|number| {
                let service = format!("service-{}", number % SERVICES);
                let instance = Instance::new(&service, "http://10.0.0.7:8885").expect("good");
                let options = PutOptions::new().with_lease(lease);
                let key = format!("{PREFIX}{}", instance.id());
                TxnOp::put(key, instance.to_json(), Some(options))
            })
            .collect();
        writer.txn(Txn::new().and_then(puts)).await.expect("the server is up");
    }
}
