//! How long a change takes to others, beside a bare row that rings.

use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, stream};
use gosd_core::{Change, Client, Instance};
use gosd_testservers::PostgresServer;
use gosd_testservers::figures::{ROUNDS, compare, micros, percentile};
use tokio::join;
use tokio::time::sleep;
use tokio_postgres::AsyncMessage;
use tokio_postgres::types::Type;

use crate::{connect, open, plain};

/// How many changes a round has.
const CHANGES: usize = 100;
/// The pause before each change, since a watcher takes together what comes within 50 ms.
const APART: Duration = Duration::from_millis(60);
const LEASE: Duration = Duration::from_secs(600);
/// Rings from within the statement, so that it takes one round trip.
const BARE: &str = "WITH it AS (
        INSERT INTO bare (id, service, url, metadata) VALUES ($1, $2, $3, '{}') RETURNING id
    ) SELECT pg_notify('bare', id) FROM it";

/// A change until it is in another client's cache, against an `INSERT` that rings until the
/// notification is on another connection.
pub(crate) async fn measure(server: &PostgresServer) {
    let driver = open(server).await;
    let client = Client::builder(open(server).await).start().await.expect("the server is up");
    let mut changes = client.changes();
    assert!(matches!(changes.next().await, Some(Change::Reset(_))));

    let (writer, _writing) = plain(server).await;
    let table = "CREATE TABLE bare (id text PRIMARY KEY, service text, url text, metadata jsonb)";
    writer.batch_execute(table).await.expect("the server is up");
    let off = "SET synchronous_commit = off";
    writer.batch_execute(off).await.expect("the server is up");
    let (listener, mut connection) = connect(server).await;
    let mut rings = stream::poll_fn(move |context| connection.poll_message(context))
        .filter_map(async |message| match message.expect("the server is up") {
            AsyncMessage::Notification(ring) => Some(ring),
            _ => None,
        })
        .boxed();
    // Polled together, because what is polled for the rings is polled for the answers too.
    tokio::select! {
        listens = listener.batch_execute("LISTEN bare") => listens.expect("the server is up"),
        _ = rings.next() => panic!("nobody has rung yet"),
    }

    let [mut come, mut go, mut bare] = [const { Vec::new() }; 3];
    let [mut come_tails, mut bare_tails] = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        let [mut comes, mut goes, mut bares] = [const { Vec::new() }; 3];
        for _ in 0..CHANGES {
            let instance = Instance::new("mail", "http://10.0.0.7:8885").expect("a good one");
            let parameters = [instance.id().as_str(), instance.service(), instance.url()];

            sleep(APART).await;
            let start = Instant::now();
            let typed = parameters.each_ref().map(|it| (it as _, Type::TEXT));
            let (done, ring) = join!(writer.query_typed(BARE, &typed), rings.next());
            assert!(ring.is_some());
            bares.push(micros(start.elapsed()));
            done.expect("the server is up");

            comes.push(until_seen(driver.register(&instance, LEASE), &mut changes).await);
            goes.push(until_seen(driver.deregister(instance.id()), &mut changes).await);
        }
        come_tails.push(percentile(&mut comes, 0.99));
        bare_tails.push(percentile(&mut bares, 0.99));
        for (all, round) in [(&mut come, comes), (&mut go, goes), (&mut bare, bares)] {
            all.push(percentile(&mut { round }, 0.5));
        }
    }
    let against = "against INSERT and NOTIFY to a listener";
    compare(&format!("an arrival in another cache, {against}"), "us", &come, &bare);
    compare("  the same, 99th percentile", "us", &come_tails, &bare_tails);
    compare(&format!("a goodbye in another cache, {against}"), "us", &go, &bare);
}

/// How long it takes from before a call until a change is in the cache, in µs.
async fn until_seen(
    call: impl Future<Output = gosd_core::Result<()>>,
    changes: &mut (impl Stream<Item = Change> + Unpin),
) -> f64 {
    sleep(APART).await;
    let start = Instant::now();
    let seen = async {
        changes.next().await.expect("the client lives");
        micros(start.elapsed())
    };
    let (done, seen) = join!(call, seen);
    done.expect("the server is up");
    seen
}
