//! The facts of the diagnosis.

use std::time::Duration;

use gosd_core::{ErrorKind, Fact};
use gosd_testservers::PostgresServer;
use tokio::time::timeout;

use super::support::{PATIENCE, instance, open};

#[tokio::test]
async fn the_clock_the_leases_and_unreadable_records_are_facts() {
    let settings = ["max_connections=10", "max_wal_senders=0"];
    let server = PostgresServer::start(&settings).await;
    let mail = instance("mail");
    let lease = Duration::from_millis(7_500);
    open(&server.url()).await.register(&mail, lease).await.unwrap();
    let sql = "INSERT INTO gosd.instances (id, service, url, metadata, expires_at)
               VALUES ('odd-1', 'odd', 'http://h', '[1]', now() + interval '1 hour')";
    server.sql(sql).await;
    let facts = gosd_postgres::diagnose(&server.url(), Duration::from_secs(15)).await.unwrap();
    let Fact::Clock { ahead_ms, within } = &facts[0] else { panic!("{facts:?}") };
    assert!(ahead_ms.unsigned_abs() <= within.as_millis() as u64 + 1, "{facts:?}");
    let id = mail.id().clone();
    assert!(facts.contains(&Fact::Lease { id, at_least: lease, at_most: lease }), "{facts:?}");
    let is_odd = |fact: &Fact| matches!(fact, Fact::Unreadable { what } if what.contains("odd-1"));
    assert!(facts.iter().any(is_odd), "{facts:?}");
    assert_eq!(facts.len(), 3, "{facts:?}");

    let mut others = Vec::new();
    for _ in 0..6 {
        let other = open(&server.url()).await;
        other.list().await.unwrap();
        others.push(other);
    }
    let facts = gosd_postgres::diagnose(&server.url(), Duration::from_secs(15)).await.unwrap();
    let is_full = |fact: &Fact| matches!(fact, Fact::Trouble { name: "connections", .. });
    assert!(facts.iter().any(is_full), "{facts:?}");
}

/// Somebody repairs the table, and holds a lock that no reader gets past.
#[tokio::test]
async fn a_table_that_is_locked_is_not_waited_for() {
    let server = PostgresServer::start(&[]).await;
    open(&server.url()).await.list().await.unwrap();
    let sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let holder = server.try_sql("BEGIN; LOCK TABLE gosd.instances; SELECT pg_sleep(3600)");
    let refused = async {
        while server.sql(&format!("SELECT count(*) {sleeping}")).await != "1" {}
        let url = server.url();
        let diagnosed = gosd_postgres::diagnose(&url, Duration::from_secs(15));
        let error = timeout(PATIENCE, diagnosed).await.expect("it ends by itself").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        server.sql(&format!("SELECT pg_terminate_backend(pid) {sleeping}")).await;
    };
    let (ended, ()) = tokio::join!(holder, refused);
    ended.unwrap_err();
}
