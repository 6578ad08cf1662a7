//! The master, found by asking sentinels.

use std::time::Duration;

use gosd_core::{ErrorKind, Event};
use gosd_testservers::{RedisSentinels, RedisServer, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::support::{LONG_LEASE, instance, open};

#[tokio::test]
async fn the_new_master_is_found_after_a_failover() {
    let group = RedisSentinels::start().await;
    let driver = open(&format!("redis+sentinel://{}/mymaster/3", group.hosts())).await;
    let [before, after] = [instance("before"), instance("after")];
    driver.register(&before, LONG_LEASE).await.unwrap();
    assert_eq!(open(&format!("{}/3", group.first.url())).await.list().await.unwrap().len(), 1);
    group.wait_for_replica().await;
    let (mut watch, _) = Watch::start(&*driver).await;

    group.fail_over().await;
    let new = open(&format!("{}/3", group.second.url())).await;
    // Writes to the old master before it is demoted are lost, so the next heartbeat counts.
    while new.list().await.unwrap().len() < 2 {
        retry(|| driver.register(&after, LONG_LEASE)).await;
    }
    goes_on(&mut watch, after).await;
}

#[tokio::test]
async fn the_new_master_is_found_after_the_old_one_was_killed() {
    let mut group = RedisSentinels::start().await;
    let driver = open(&format!("redis+sentinel://{}/mymaster", group.hosts())).await;
    let [before, after] = [instance("before"), instance("after")];
    driver.register(&before, LONG_LEASE).await.unwrap();
    group.wait_for_replica().await;
    let (mut watch, _) = Watch::start(&*driver).await;

    group.first.process().kill().await;
    group.wait_for_second().await;
    retry(|| driver.register(&after, LONG_LEASE)).await;
    assert_eq!(open(&group.second.url()).await.list().await.unwrap().len(), 2);
    goes_on(&mut watch, after).await;
}

#[tokio::test]
async fn what_the_sentinels_do_not_know() {
    let group = RedisSentinels::start().await;
    let driver = open(&format!("redis+sentinel://{}/other", group.hosts())).await;
    let error = driver.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("\"other\""), "{error}");

    let no_sentinel = RedisServer::start(&[]).await;
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster", no_sentinel.port());
    let error = open(&url).await.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("no sentinel"), "{error}");
}

/// Later calls wait for the same attempt to connect, so it must not wait for this master for ever.
#[tokio::test]
async fn a_master_that_greets_and_then_freezes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let address = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
    let server = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let address = address.clone();
            tokio::spawn(async move {
                let mut said = [0; 1024];
                while let Ok(count @ 1..) = client.read(&mut said).await {
                    let said = String::from_utf8_lossy(&said[..count]);
                    let answer = match () {
                        () if said.contains("SENTINEL") => &address,
                        () if said.contains("EXISTS") => ":0\r\n",
                        () => continue,
                    };
                    client.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let driver = open(&format!("redis+sentinel://127.0.0.1:{port}/mymaster")).await;
    let listed = tokio::time::timeout(Duration::from_secs(20), driver.list()).await;
    let error = listed.expect("the attempt ends by itself").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    server.abort();
}

/// The watch yields this instance, and never the loss of another.
async fn goes_on(watch: &mut Watch<'_>, after: gosd_core::Instance) {
    loop {
        match watch.next().await {
            Ok(Event::Reset(all)) if all.contains(&after) => return assert_eq!(all.len(), 2),
            Ok(Event::Put(put)) if put == after => return,
            Ok(Event::Resumed) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Repeats a call as long as that may help, as core does.
async fn retry<F: Future<Output = gosd_core::Result<()>>>(call: impl Fn() -> F) {
    let trying = async {
        while let Err(error) = call().await {
            assert!(error.is_retryable(), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), trying).await.expect("the new master is found");
}
