//! The facts of the diagnosis.

use std::time::Duration;

use gosd_core::{ErrorKind, Fact};
use gosd_testservers::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::support::{LONG_LEASE, instance, open, set_end};

const LEASE: Duration = Duration::from_secs(15);
const FOUND: &str = ":0\r\n";
const TIME: &str = "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n";

#[tokio::test]
async fn a_lease_that_somebody_gave_no_end_is_none() {
    let server = RedisServer::start(&[]).await;
    let pinned = instance("mail");
    open(&server.url()).await.register(&pinned, LONG_LEASE).await.unwrap();
    set_end(&server, &pinned, "+inf").await;
    let facts = gosd_redis::diagnose(&server.url(), LEASE).await.unwrap();
    assert!(facts.contains(&Fact::NoLease { id: pinned.id().clone() }), "{facts:?}");
}

/// Paused time runs ahead whenever there is nothing else to do, which is the case with a silent server.
#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_not_waited_for() {
    let silent = silent_after(&[FOUND]).await;
    let diagnosed = timeout(LEASE, gosd_redis::diagnose(&silent, LEASE)).await;
    let error = diagnosed.expect("it ends by itself").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");

    let silent = silent_after(&[FOUND, TIME]).await;
    let diagnosed = timeout(LEASE, gosd_redis::diagnose(&silent, LEASE)).await;
    let facts = diagnosed.expect("it ends by itself").unwrap();
    assert!(matches!(facts[0], Fact::Clock { .. }), "{facts:?}");
    assert!(matches!(facts[1..], [Fact::Trouble { .. }, Fact::Trouble { .. }]), "{facts:?}");
}

/// The URL of a server with these answers to what it is sent, one after the other, and no more.
async fn silent_after(answers: &'static [&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut answers = answers.iter();
        while client.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {
            if let Some(answer) = answers.next() {
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    url
}
