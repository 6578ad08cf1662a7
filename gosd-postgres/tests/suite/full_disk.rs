//! The disk of the server is full: first for whoever is new, and in the end for the server itself.

use std::process::Command;
use std::time::{Duration, Instant};

use gosd_core::{Driver, ErrorKind, Event, Instance};
use gosd_testservers::{PostgresServer, Watch};
use tokio::time::{interval, timeout};

use super::support::{LONG_LEASE, PATIENCE, instance, open};

const LEASE: Duration = Duration::from_secs(4);
/// Set where the disk is small.
const IS_SMALL: &str = "gosdTestSmallDisk";
/// An empty cluster takes some 30 of them.
const MIB: u32 = 64;

/// Runs a test again where the disk is a small one; returns whether it is already.
fn is_on_small_disk(test: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "it is no setting of gosd")]
    if std::env::var_os(IS_SMALL).is_some() {
        return true;
    }
    let words = PostgresServer::on_small_disk(MIB);
    let this = std::env::current_exe().expect("a test has a path");
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(this).args([test, "--exact", "--nocapture", "--quiet"]);
    let output = command.env(IS_SMALL, "").output().expect("unshare, of util-linux, is needed");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    false
}

/// An instance whose record takes a quarter of a page.
fn large(number: usize) -> Instance {
    let path: String = (0..1_900).map(|_| fastrand::alphanumeric()).collect();
    Instance::new("large", &format!("http://10.0.0.7:8885/{number}/{path}")).expect("a good one")
}

/// Renews a lease for longer than it lasts, during which nobody may take its owner for dead. Returns how
/// many heartbeats were taken, and how many refused.
async fn outlive(driver: &dyn Driver, watch: &mut Watch<'_>, mail: &Instance) -> (u32, u32) {
    let end = Instant::now() + LEASE * 2;
    let mut beats = interval(LEASE / 4);
    let (mut taken, mut refused) = (0, 0);
    while Instant::now() < end {
        beats.tick().await;
        match driver.register(mail, LEASE).await {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                refused += 1;
            }
        }
        match driver.list().await {
            Ok(all) => assert!(all.contains(mail), "{taken} taken, {refused} refused: {all:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        while let Ok(item) = timeout(Duration::from_millis(10), watch.next()).await {
            match item {
                Ok(Event::Expire(id) | Event::Remove(id)) => assert_ne!(id, *mail.id()),
                Ok(Event::Reset(all)) => assert!(all.contains(mail), "{all:?}"),
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    }
    (taken, refused)
}

#[tokio::test]
async fn who_lives_is_kept_and_who_is_new_is_told() {
    if !is_on_small_disk("full_disk::who_lives_is_kept_and_who_is_new_is_told") {
        return;
    }
    let mut server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let mail = instance("mail");
    driver.register(&mail, LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    server.fill_disk();
    let mut number = 0;
    let error = loop {
        number += 1;
        if let Err(error) = driver.register(&large(number), LONG_LEASE).await {
            break error;
        }
        assert!(number < 10_000, "the disk is not full");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("53100") && error.to_string().contains("room"), "{error}");

    // The heartbeats of those who are there need no room.
    let (taken, refused) = outlive(&*driver, &mut watch, &mail).await;
    assert!(taken > 0, "{refused} heartbeats were refused");

    // Once the server wants room for the next file of its log, it ends.
    while server.try_sql("SELECT pg_switch_wal()").await.is_ok() {
        let _ = driver.register(&mail, LEASE).await;
    }
    let (taken, refused) = outlive(&*driver, &mut watch, &mail).await;
    assert!(refused > 0, "{taken} heartbeats were taken");

    server.clear_disk();
    server.revive().await;
    let late = large(0);
    let begin = Instant::now();
    while let Err(error) = driver.register(&late, LONG_LEASE).await {
        assert!(begin.elapsed() < PATIENCE, "{error}");
    }
    driver.register(&mail, LEASE).await.unwrap();
    let all = driver.list().await.unwrap();
    assert!(all.contains(&late) && all.contains(&mail), "{all:?}");
}
