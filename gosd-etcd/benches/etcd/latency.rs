//! How long a change takes to reach another client's cache.

use std::time::{Duration, Instant};

use etcd_client::{Client as Etcd, Error, LeaseGrantOptions, PutOptions, WatchOptions};
use futures_util::{Stream, StreamExt};
use gosd_core::{Change, Client, Instance};
use gosd_testservers::EtcdServer;
use tokio::join;
use tokio::time::sleep;

use crate::{open, plain};
use gosd_testservers::figures::{ROUNDS, compare, micros, percentile};

const CHANGES: usize = 50;
/// The pause before each change, since a watcher takes together what comes within 50 ms.
const APART: Duration = Duration::from_millis(60);
const LEASE: Duration = Duration::from_secs(600);

/// A change until it is in another client's cache, against a put until it wakes another
/// connection's watch.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub(crate) async fn measure(etcd: &EtcdServer) {
    let driver = open(etcd).await;
    let client = Client::builder(open(etcd).await).start().await.expect("the server is up");
    let mut changes = client.changes();
    assert!(matches!(changes.next().await, Some(Change::Reset(_))));
    let mut writer = plain(etcd).await;
    let options = WatchOptions::new().with_prefix();
    let mut watch = plain(etcd).await.watch("/plain/", Some(options)).await.expect("a watch");
    assert!(watch.message().await.is_ok_and(|begun| begun.is_some_and(|begun| begun.created())));

    let [mut come, mut go, mut put, mut grant, mut together] = [const { Vec::new() }; 5];
    let mut overtaken = 0;
    for _ in 0..ROUNDS {
        let [mut comes, mut goes, mut puts, mut grants, mut togethers] = [const { Vec::new() }; 5];
        for _ in 0..CHANGES {
            let instance = Instance::new("mail", "http://10.0.0.7:8885").expect("a good one");
            let (key, json) = (format!("/plain/{}", instance.id()), instance.to_json());

            sleep(APART).await;
            let start = Instant::now();
            let (done, seen) = join!(writer.put(key.as_str(), json.as_str(), None), async {
                watch.message().await.map(|_| start.elapsed())
            });
            done.expect("the server is up");
            puts.push(micros(seen.expect("the server is up")));

            sleep(APART).await;
            let start = Instant::now();
            let with_lease = async {
                let lease = writer.lease_grant(600, None).await?.id();
                let options = PutOptions::new().with_lease(lease);
                writer.put(key.as_str(), json.as_str(), Some(options)).await
            };
            let (done, seen) =
                join!(with_lease, async { watch.message().await.map(|_| start.elapsed()) });
            done.expect("the server is up");
            grants.push(micros(seen.expect("the server is up")));

            sleep(APART).await;
            let start = Instant::now();
            let at_once = at_once(&writer, &key, &json);
            let (done, seen) =
                join!(at_once, async { watch.message().await.map(|_| start.elapsed()) });
            overtaken += usize::from(done.expect("the server is up"));
            togethers.push(micros(seen.expect("the server is up")));

            sleep(APART).await;
            let start = Instant::now();
            let (done, seen) = join!(driver.register(&instance, LEASE), next(&mut changes, start));
            done.expect("the server is up");
            comes.push(seen);

            sleep(APART).await;
            let start = Instant::now();
            let (done, seen) = join!(driver.deregister(instance.id()), next(&mut changes, start));
            done.expect("the server is up");
            goes.push(seen);
        }
        for (all, round) in [
            (&mut come, comes),
            (&mut go, goes),
            (&mut put, puts),
            (&mut grant, grants),
            (&mut together, togethers),
        ] {
            all.push(percentile(&mut { round }, 0.5));
        }
    }
    compare("a goodbye in another cache, against a put in a watch", "us", &go, &put);
    compare(
        "an arrival in another cache, against a grant and a put in a watch",
        "us",
        &come,
        &grant,
    );
    compare("  the same, against a put in a watch", "us", &come, &put);
    compare("a grant and a put sent at once, against one after the other", "us", &together, &grant);
    let share = 100 * overtaken / (ROUNDS * CHANGES);
    println!("  of these the put overtook the grant, and was sent again: {share} %");
}

/// Sends the grant of a lease and the put that names it without waiting in between; returns whether
/// etcd knew nothing of the lease yet when it came to the put, which is then sent again.
async fn at_once(client: &Etcd, key: &str, json: &str) -> Result<bool, Error> {
    let (mut granting, mut putting) = (client.clone(), client.clone());
    let id = fastrand::i64(1..=i64::MAX);
    let with_id = LeaseGrantOptions::new().with_id(id);
    let put = PutOptions::new().with_lease(id);
    let (granted, written) =
        join!(granting.lease_grant(600, Some(with_id)), putting.put(key, json, Some(put.clone())),);
    granted?;
    match written {
        Ok(_) => Ok(false),
        Err(Error::GRpcStatus(status)) if status.message().contains("lease not found") => {
            putting.put(key, json, Some(put)).await.map(|_| true)
        }
        Err(error) => Err(error),
    }
}

async fn next(changes: &mut (impl Stream<Item = Change> + Unpin), start: Instant) -> f64 {
    changes.next().await.expect("the client lives");
    micros(start.elapsed())
}
