//! How long many registrations and heartbeats take.

use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};
use futures_util::future::try_join_all;
use gosd_core::Instance;
use gosd_testservers::EtcdServer;

use crate::{open, plain};
use gosd_testservers::figures::{ROUNDS, compare, micros};

const INSTANCES: usize = 1_000;
const SECONDS: i64 = 600;
const LEASE: Duration = Duration::from_secs(SECONDS as u64);

/// 1,000 registrations at once, and as many heartbeats, against the plain calls that they consist of.
pub(crate) async fn measure(etcd: &EtcdServer) {
    let driver = open(etcd).await;
    let client = plain(etcd).await;
    let [mut registered, mut granted, mut renewed, mut kept] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let all: Vec<Instance> = (0..INSTANCES)
            .map(|_| Instance::new("mail", "http://10.0.0.7:8885").expect("a good one"))
            .collect();
        for times in [&mut registered, &mut renewed] {
            let start = Instant::now();
            try_join_all(all.iter().map(|instance| driver.register(instance, LEASE)))
                .await
                .expect("the server is up");
            times.push(micros(start.elapsed()) / 1_000.0);
        }

        let start = Instant::now();
        let leases = try_join_all(all.iter().map(|instance| grant(client.clone(), instance)))
            .await
            .expect("the server is up");
        granted.push(micros(start.elapsed()) / 1_000.0);

        let start = Instant::now();
        let leased = all.iter().zip(leases);
        try_join_all(leased.map(|(instance, lease)| keep(client.clone(), instance, lease)))
            .await
            .expect("the server is up");
        kept.push(micros(start.elapsed()) / 1_000.0);
    }
    compare("1,000 registrations at once, against grants and puts", "ms", &registered, &granted);
    compare(
        "1,000 heartbeats at once, against keep-alives and transactions",
        "ms",
        &renewed,
        &kept,
    );
}

async fn grant(mut client: Client, instance: &Instance) -> Result<i64, etcd_client::Error> {
    let lease = client.lease_grant(SECONDS, None).await?.id();
    let options = PutOptions::new().with_lease(lease);
    client.put(key(instance), instance.to_json(), Some(options)).await?;
    Ok(lease)
}

async fn keep(
    mut client: Client,
    instance: &Instance,
    lease: i64,
) -> Result<(), etcd_client::Error> {
    client.lease_keep_alive(lease).await?;
    // With a read, because without one the member would not ask the others.
    let read = TxnOp::get(key(instance), Some(GetOptions::new().with_count_only()));
    let still =
        Txn::new().when([Compare::lease(key(instance), CompareOp::Equal, lease)]).and_then([read]);
    assert!(client.txn(still).await?.succeeded());
    Ok(())
}

fn key(instance: &Instance) -> String {
    format!("/plain/{}", instance.id())
}
