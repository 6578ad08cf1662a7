//! The facts of the diagnosis.

use std::time::Duration;

use gosd_core::Fact;
use gosd_testservers::PostgresServer;

use super::support::{instance, open};

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
