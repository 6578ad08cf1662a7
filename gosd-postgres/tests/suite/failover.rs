//! A replica replaces the server.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gosd_core::{ErrorKind, Event};
use gosd_testservers::{PostgresServer, Watch};

use super::support::{LONG_LEASE, PATIENCE, instance, open};

#[tokio::test]
async fn a_promoted_replica_takes_over_and_nobody_dies() {
    let mut first = PostgresServer::start(&[]).await;
    let second = first.start_replica().await;
    // The replica comes first in the URL, and is passed over while it is a standby.
    let url = format!(
        "postgres://postgres:p%40ss@127.0.0.1:{},127.0.0.1:{}/postgres",
        second.port(),
        first.port()
    );
    let driver = open(&url).await;
    let mail = instance("mail");
    driver.register(&mail, Duration::from_secs(5)).await.unwrap();
    let (mut watch, all) = Watch::start(&*driver).await;
    assert_eq!(all, std::slice::from_ref(&mail));
    let begin = Instant::now();
    while second.sql("SELECT count(*) FROM gosd.instances WHERE service = 'mail'").await != "1" {
        assert!(begin.elapsed() < PATIENCE, "the replica does not follow");
    }
    first.process().kill().await;
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let error = driver.list().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    second.sql("SELECT pg_promote()").await;
    // Changes that had not reached the replica are lost, and then everything is read again.
    match watch.event_after_errors().await {
        Event::Resumed => {}
        Event::Reset(all) => assert_eq!(all, std::slice::from_ref(&mail)),
        other => panic!("{other:?}"),
    }
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&mail));
    let quiet = tokio::time::timeout(Duration::from_secs(3), watch.next()).await;
    assert!(!matches!(quiet, Ok(Ok(Event::Expire(_) | Event::Remove(_)))), "{quiet:?}");
}

#[tokio::test]
async fn a_replica_alone_is_out_of_contact() {
    let first = PostgresServer::start(&[]).await;
    open(&first.url()).await.list().await.unwrap();
    let second = first.start_replica().await;
    let error = open(&second.url()).await.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("standby"), "{error}");
}

/// The time for an attempt to connect is over before the last host's turn has come.
#[tokio::test]
async fn a_watch_gets_past_hosts_that_are_silent() {
    let server = PostgresServer::start(&[]).await;
    // The system completes the connections that nobody accepts.
    let silent = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut hosts = silent.each_ref().map(|it| it.local_addr().unwrap().to_string()).to_vec();
    hosts.push(format!("127.0.0.1:{}", server.port()));
    let url = format!("postgres://postgres:p%40ss@{}/postgres", hosts.join(","));
    let driver = open(&url).await;
    let mut watch = driver.watch().expect("it can watch");
    tokio::time::pause();
    let error = watch.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // The server answers in real time.
    tokio::time::resume();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
}
