//! How a watch begins, and how it learns of changes.

use std::time::{Duration, Instant};

use gosd_core::Event;
use gosd_testservers::{Mode, PostgresServer, Proxy, Watch, changes_come_together};

use super::support::{LONG_LEASE, instance, open};

#[tokio::test]
async fn a_silent_connection_is_an_error_within_ten_seconds() {
    let server = PostgresServer::start(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let driver =
        open(&format!("postgres://postgres:p%40ss@127.0.0.1:{}/postgres", proxy.port())).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    proxy.set(Mode::Silent);
    let begin = Instant::now();
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let mail = instance("mail");
    open(&server.url()).await.register(&mail, LONG_LEASE).await.unwrap();
    proxy.set(Mode::Pass);
    assert_eq!(watch.event_after_errors().await, Event::Resumed);
    assert_eq!(watch.event().await, Event::Put(mail));
}

/// As behind a pooler in transaction mode, which accepts `LISTEN` and forwards no notifications.
#[tokio::test]
async fn without_notifications_changes_come_all_the_same() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    driver.list().await.unwrap();
    server
        .sql(
            "CREATE OR REPLACE FUNCTION gosd.log_change(
                 namespace text, op text, id text, service text, url text, metadata jsonb
             ) RETURNS void LANGUAGE sql AS $$
                 INSERT INTO gosd.changes (namespace, op, id, service, url, metadata)
                 VALUES ($1, $2, $3, $4, $5, $6)
             $$",
        )
        .await;
    let (mut watch, _) = Watch::start(&*driver).await;
    for _ in 0..4 {
        let mail = instance("mail");
        driver.register(&mail, LONG_LEASE).await.unwrap();
        assert_eq!(watch.event().await, Event::Put(mail));
    }
}

#[tokio::test]
async fn two_hosts_are_tried_in_order() {
    let server = PostgresServer::start(&[]).await;
    let dead = gosd_testservers::free_port();
    let url =
        format!("postgres://postgres:p%40ss@127.0.0.1:{dead},127.0.0.1:{}/postgres", server.port());
    let driver = open(&url).await;
    driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn changes_that_come_together_are_taken_together() {
    let server = PostgresServer::start(&[]).await;
    changes_come_together(&*open(&server.url()).await).await;
}
