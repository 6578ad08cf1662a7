//! Servers that disappear without closing their connections: no packet arrives in either direction.

use std::time::Duration;

use futures_util::StreamExt;
use gosd_core::{ErrorKind, Event};
use gosd_server::Settings;
use gosd_testservers::{Mode, Proxy, late_calls_undo_nothing};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::support::{LATE, memory, open, read_until};

#[tokio::test]
async fn a_driver_notices_that_its_server_is_gone_without_a_word() {
    let server = memory(Settings::new()).await;
    let proxy = Proxy::to(server.address().port()).await;
    let driver = open(&format!("http://127.0.0.1:{}", proxy.port())).await;
    let mut watch = driver.watch().unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
    proxy.set(Mode::Silent);
    let item = timeout(LATE, watch.next()).await.expect("it does not wait for ever").unwrap();
    assert_eq!(item.unwrap_err().kind(), ErrorKind::Timeout);
    proxy.set(Mode::Heal);
    assert_eq!(timeout(LATE, watch.next()).await.unwrap().unwrap().unwrap(), Event::Resumed);
}

#[tokio::test]
async fn a_driver_notices_that_nothing_it_says_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let driver = open(&format!("http://{}", listener.local_addr().unwrap())).await;
    let mut watch = driver.watch().unwrap();
    let server = async {
        let (mut events, _) = listener.accept().await.unwrap();
        read_until(&mut events, "\r\n\r\n").await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        events.write_all(head).await.unwrap();
        events.write_all(b"event: reset\nid: 1\ndata: {\"instances\":[]}\n\n").await.unwrap();
        // Connections for requests are accepted, and never answered.
        while events.write_all(b":\n\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let client = async {
        assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(Vec::new()));
        watch.next().await.unwrap().unwrap_err()
    };
    let error = tokio::select! {
        error = timeout(LATE, client) => error.expect("it does not wait for ever"),
        () = server => panic!("the driver closed the events first"),
    };
    assert!(error.to_string().contains("requests are not answered"), "{error}");
}

#[tokio::test]
async fn late_calls() {
    let server = memory(Settings::new()).await;
    late_calls_undo_nothing(async || {
        let proxy = Proxy::to(server.address().port()).await;
        let driver = open(&format!("http://127.0.0.1:{}", proxy.port())).await;
        (proxy, driver)
    })
    .await;
}
