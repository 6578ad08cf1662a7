//! The content of the tables, and its size.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use gosd_core::Event;
use gosd_testservers::{PostgresServer, Watch};

use super::support::{LONG_LEASE, PATIENCE, instance, open};

/// Watchers see changes that are written with psql.
#[tokio::test]
async fn changes_by_psql_are_seen() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let (mut watch, all) = Watch::start(&*driver).await;
    assert_eq!(all, []);
    server
        .sql(
            "INSERT INTO gosd.instances (id, service, url, expires_at)
             VALUES ('mail-1', 'mail', 'http://10.0.0.7:25', now() + interval '1 hour')",
        )
        .await;
    let Event::Put(mail) = watch.event().await else { panic!("it is new") };
    assert_eq!((mail.service(), mail.url()), ("mail", "http://10.0.0.7:25"));
    server.sql("UPDATE gosd.instances SET metadata = '{\"zone\": \"a\"}'").await;
    assert_eq!(watch.event().await, Event::Put(mail.clone().with_metadata("zone", "a")));
    server.sql("UPDATE gosd.instances SET expires_at = now() + interval '2 hours'").await;
    server.sql("DELETE FROM gosd.instances").await;
    assert_eq!(watch.event().await, Event::Remove(mail.id().clone()));
    assert_eq!(
        server.sql("SELECT op FROM gosd.changes ORDER BY seq").await,
        "start\nput\nput\nremove"
    );
}

/// A number that is assigned first and becomes visible last is not passed over.
#[tokio::test]
async fn a_change_that_is_committed_late_is_not_missed() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let slow = server.sql(
        "BEGIN;
         INSERT INTO gosd.instances (id, service, url, expires_at)
         VALUES ('slow-1', 'slow', 'http://h', now() + interval '1 hour');
         SELECT pg_sleep(2);
         COMMIT",
    );
    let fast = instance("fast");
    let fast_id = fast.id().clone();
    let others = async {
        let begin = Instant::now();
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while server.sql(asleep).await != "1" {
            assert!(begin.elapsed() < PATIENCE);
        }
        // The lock is waited for, but not for long.
        while driver.register(&fast, LONG_LEASE).await.is_err() {
            assert!(begin.elapsed() < PATIENCE);
        }
    };
    let seen = async {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match watch.event().await {
                Event::Put(put) => seen.push(put.id().clone()),
                other => panic!("{other:?}"),
            }
        }
        seen
    };
    let ((), _, seen) = tokio::join!(others, slow, seen);
    assert_eq!(seen, ["slow-1".into(), fast_id]);
}

/// Sends this many heartbeats from this many instances, and checks the size of the table.
async fn beat(heartbeats: usize, instances: usize) {
    let server = PostgresServer::start(&["autovacuum=off"]).await;
    let driver = open(&server.url()).await;
    // One of them has values that are stored apart from its row.
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(7_000).collect();
    let large = instance("mail").with_metadata("notes", &text);
    let others = (1..instances).map(|_| instance("mail"));
    let all: Vec<_> = std::iter::once(large).chain(others).collect();
    for _ in 0..heartbeats / instances {
        try_join_all(all.iter().map(|instance| driver.register(instance, LONG_LEASE)))
            .await
            .unwrap();
    }
    let size: u64 = server
        .sql("SELECT pg_total_relation_size('gosd.instances')")
        .await
        .parse()
        .expect("a number");
    // The rows take 20 kB, in pages that are half full, and with the index.
    assert!(size < 150_000, "{size} bytes");
    let logged = server.sql("SELECT count(*) FROM gosd.changes").await;
    assert_eq!(logged, (instances + 1).to_string(), "a heartbeat is no change");
    // Statistics are updated with a delay.
    let begin = Instant::now();
    let share = "SELECT round(100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1)) >= 95
                     AND n_tup_upd > 0 FROM pg_stat_user_tables WHERE relname = 'instances'";
    while server.sql(share).await != "t" {
        assert!(begin.elapsed() < Duration::from_secs(20), "too few HOT updates");
        driver.register(&all[0], LONG_LEASE).await.unwrap();
    }
}

#[tokio::test]
async fn heartbeats_leave_the_table_small() {
    beat(5_000, 100).await;
}

/// The same for 100,000, which takes a minute.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_hundred_thousand_heartbeats_leave_the_table_small() {
    beat(100_000, 100).await;
}
