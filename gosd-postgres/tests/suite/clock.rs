//! The server's wall clock is set while all instances live, and answers that are late are no reason to think so.

use std::time::{Duration, Instant};

use gosd_core::Event;
use gosd_testservers::{PostgresServer, WallClock, Watch};

use super::support::{LONG_LEASE, instance, open, signal};

const HOUR: i64 = 3_600;
const LEASE: Duration = Duration::from_secs(4);

/// The clock is set forward, so the leases of living instances are over at once.
#[tokio::test]
async fn set_forward_nobody_dies() {
    let clock = WallClock::ahead_by(0).await;
    let server = PostgresServer::start_with_clock(&clock).await;
    let driver = open(&server.url()).await;
    let living = [instance("a"), instance("b")];
    for instance in &living {
        driver.register(instance, LEASE).await.unwrap();
    }
    let (mut watch, _) = Watch::start(&*driver).await;
    // Until the driver knows the server's clock.
    assert_eq!(driver.list().await.unwrap().len(), 2);
    clock.set(HOUR);
    let begin = Instant::now();
    assert_eq!(driver.list().await.unwrap().len(), 2, "they may live");

    // A driver that knows nothing of the time before.
    let late = open(&server.url()).await;
    let (_unknowing, all) = Watch::start(&*late).await;
    assert_eq!(all.len(), 2);
    let gone = loop {
        match watch.event().await {
            Event::Put(_) | Event::Resumed => {}
            Event::Expire(id) => break id,
            other => panic!("{other:?}"),
        }
    };
    // Each instance had a whole lease in which to renew.
    assert!(begin.elapsed() >= LEASE, "{:?}", begin.elapsed());
    assert!(living.iter().any(|instance| *instance.id() == gone));
}

/// The clock ran ahead and is set back, so the earlier leases are an hour too long.
#[tokio::test]
async fn set_back_the_dead_go_in_time() {
    let clock = WallClock::ahead_by(HOUR).await;
    let server = PostgresServer::start_with_clock(&clock).await;
    let driver = open(&server.url()).await;
    let [dead, living] = [instance("dead"), instance("living")];
    driver.register(&dead, LEASE).await.unwrap();
    driver.register(&living, LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let renewals = async {
        loop {
            driver.register(&living, LEASE).await.unwrap();
            tokio::time::sleep(LEASE / 4).await;
        }
    };
    let followed = async {
        let begin = Instant::now();
        clock.set(0);
        loop {
            match watch.event().await {
                Event::Put(_) | Event::Resumed => {}
                Event::Expire(id) => {
                    assert_eq!(id, *dead.id());
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&living));
    };
    tokio::select! {
        () = renewals => {}
        () = followed => {}
    }
}

/// When the lease of the only instance ends.
const END: &str = "SELECT expires_at FROM gosd.instances";
/// Longer than the difference from which on a clock counts as set.
const LATE: Duration = Duration::from_secs(2);

/// The server reads its clock and answers two seconds later, so its time is two seconds old by then.
#[tokio::test]
async fn a_slow_answer_gives_nobody_a_new_lease() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
    let end = server.sql(END).await;
    let parameters = "ns text, expected timestamptz, troubled boolean, may_purge boolean";
    server
        .sql(&format!(
            "ALTER FUNCTION gosd.look RENAME TO prompt_look;
             CREATE FUNCTION gosd.look({parameters}) RETURNS timestamptz LANGUAGE plpgsql AS $$
             DECLARE
                 now timestamptz := gosd.prompt_look(ns, expected, troubled, may_purge);
             BEGIN
                 PERFORM pg_sleep({});
                 RETURN now;
             END $$",
            LATE.as_secs()
        ))
        .await;
    driver.list().await.unwrap();
    server.sql("DROP FUNCTION gosd.look; ALTER FUNCTION gosd.prompt_look RENAME TO look").await;
    driver.list().await.unwrap();
    assert_eq!(server.sql(END).await, end);
}

/// The server executes what it was asked two seconds later.
#[tokio::test]
async fn a_late_question_gives_nobody_a_new_lease() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    driver.register(&instance("mail"), LONG_LEASE).await.unwrap();
    driver.list().await.unwrap();
    let end = server.sql(END).await;
    let pulse = "SELECT at FROM gosd.pulses";
    let before = server.sql(pulse).await;
    let ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'gosd-%'";
    let pid = server.sql(ours).await;
    signal("STOP", &pid).await;
    let goes_on = async {
        tokio::time::sleep(LATE).await;
        signal("CONT", &pid).await;
    };
    let (listed, ()) = tokio::join!(driver.list(), goes_on);
    assert_eq!(listed.unwrap().len(), 1);
    assert_eq!(server.sql(END).await, end);
    assert_ne!(server.sql(pulse).await, before, "it has looked all the same");
}
