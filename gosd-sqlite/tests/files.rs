//! The file is removed or replaced while processes use it.

mod support;

use std::fs;
use std::time::Duration;

use gosd_core::{ErrorKind, Event};
use tokio::time::timeout;

use support::{LONG_LEASE, Place, instance, next};

#[tokio::test]
async fn a_removed_file_is_created_again() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    place.remove();
    assert_eq!(driver.list().await.unwrap(), []);
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(place.driver("gosd").await.list().await.unwrap(), [mail]);
}

/// Repeated, because file systems give the number of a removed file to the next one.
#[tokio::test]
async fn a_watcher_notices_a_removed_file() {
    let place = Place::new();
    let driver = place.driver("gosd").await;
    let mut watch = driver.watch().unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), Event::Reset(vec![]));
    for _ in 0..5 {
        place.remove();
        // An instance of the removed file may register again in the new one.
        assert_eq!(next(&mut watch).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(next(&mut watch).await.unwrap(), Event::Reset(vec![]));
        let mail = instance("mail");
        driver.register(&mail, LONG_LEASE).await.unwrap();
        assert_eq!(next(&mut watch).await.unwrap(), Event::Put(mail));
    }
}

#[tokio::test]
async fn a_replaced_file_is_noticed() {
    let (place, other) = (Place::new(), Place::new());
    let there = instance("there");
    other.driver("gosd").await.register(&there, LONG_LEASE).await.unwrap();
    // A copy of a database in use needs the content of its write-ahead log.
    other.plain().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();

    let driver = place.driver("gosd").await;
    driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
    let mut watch = driver.watch().unwrap();
    next(&mut watch).await.unwrap();
    place.remove();
    fs::copy(other.path(), place.path()).unwrap();
    assert_eq!(next(&mut watch).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(next(&mut watch).await.unwrap(), Event::Reset(vec![there.clone()]));
    assert_eq!(driver.list().await.unwrap(), [there]);
}

#[tokio::test]
async fn a_removed_bell_is_created_again() {
    let place = Place::new();
    let (driver, other) = (place.driver("gosd").await, place.driver("gosd").await);
    let mut watch = driver.watch().unwrap();
    next(&mut watch).await.unwrap();
    for _ in 0..3 {
        fs::remove_file(place.bell()).unwrap();
        let mail = instance("mail");
        other.register(&mail, LONG_LEASE).await.unwrap();
        assert_eq!(next(&mut watch).await.unwrap(), Event::Put(mail));
        assert!(place.bell().exists());
    }
}

/// Otherwise the process that waited would have the old file open, and the journal of the new one.
#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_waited_for() {
    let place = Place::new();
    let first = place.driver("gosd").await;
    first.register(&instance("mail"), LONG_LEASE).await.unwrap();
    let lock = place.plain();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let driver = place.driver("gosd").await;
    let mail = instance("mail");
    let mut waits = driver.list();
    timeout(Duration::from_millis(300), &mut waits).await.expect_err("it waits");
    place.take_away();
    fs::create_dir(place.folder()).unwrap();
    let other = instance("mail");
    place.driver("gosd").await.register(&other, LONG_LEASE).await.unwrap();
    lock.execute_batch("COMMIT").unwrap();
    let error = waits.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap().len(), 2);
}
