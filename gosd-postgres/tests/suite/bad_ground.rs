//! Servers that cannot be used, and servers that cannot be used for a while.

use std::time::{Duration, Instant};

use gosd_core::{Client, ErrorKind, Event, Result, Settings};
use gosd_testservers::{
    Certificates, Cutter, PostgresServer, Proxy, Watch, free_port, late_calls_undo_nothing,
    tls_cases,
};

use super::support::{GRANTS, LONG_LEASE, PATIENCE, instance, open, signal};

/// Starts a client that registers, with only one attempt.
async fn start(url: &str) -> Result<Client> {
    let settings = Settings::default().try_refresh_amount(1).lease_ttl(Duration::from_secs(3));
    let client = Client::builder(open(url).await).settings(settings);
    client.register("mail", "http://10.0.0.7:25").start().await
}

/// Requires `start` to fail with a server that can never be used.
async fn refused(url: &str, kind: ErrorKind, hints: &[&str]) {
    let error = start(url).await.expect_err(url);
    assert_eq!(error.kind(), kind, "{url}: {error}");
    for hint in hints {
        assert!(error.to_string().contains(hint), "{url}: {error}");
    }
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[tokio::test]
async fn what_waiting_cannot_mend_fails_at_once() {
    use ErrorKind::{Config, Data, Denied, Unsupported};
    let server = PostgresServer::start(&[]).await;
    let at = format!("127.0.0.1:{}", server.port());
    let user = format!("shop:sesame@{at}");
    refused(&format!("postgres://{user}/postgres"), Denied, &["28P01", "password"]).await;
    refused(&format!("postgres://shop@{at}/postgres"), Denied, &["put it into the URL"]).await;
    server.sql("CREATE ROLE shop LOGIN PASSWORD 'sesame'").await;
    refused(&format!("postgres://{user}/none"), Config, &["\"none\" does not exist"]).await;
    refused(&format!("postgres://{user}/postgres"), Denied, &["permission denied"]).await;
    refused(
        &format!("postgres://{user}/postgres?sslmode=verify-full"),
        Config,
        &["does not speak TLS", "sslmode=disable"],
    )
    .await;
    server.sql("CREATE SCHEMA gosd; CREATE TABLE gosd.orders (id int)").await;
    refused(&server.url(), Data, &["schema gosd belongs to something else"]).await;
    server.sql("DROP SCHEMA gosd CASCADE").await;
    open(&server.url()).await.list().await.unwrap();
    refused(&format!("postgres://{user}/postgres"), Denied, &["permission denied"]).await;
    server.sql("UPDATE gosd.layout SET version = 2").await;
    refused(&server.url(), Unsupported, &["version 2", "update gosd"]).await;
}

#[tokio::test]
async fn certificates_mean_the_same_as_for_every_driver() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let server = PostgresServer::start_tls(&ours, true).await;
    for case in tls_cases(&ours, &theirs) {
        let url = format!("{}?{}", server.url(), case.query);
        let listed = open(&url).await.list().await;
        match (case.kind, &listed) {
            (None, Ok(_)) => {}
            (Some(kind), Err(error)) => {
                assert_eq!(format!("{:?}", error.kind()), kind, "{}: {error}", case.query);
                assert!(error.to_string().contains(&case.says), "{}: {error}", case.query);
            }
            _ => panic!("{}: {listed:?}", case.query),
        }
    }
    let plain = open(&format!("{}?sslmode=disable", server.url())).await.list().await;
    let error = plain.expect_err("the server wants TLS");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("sslmode"), "{error}");
}

#[tokio::test]
async fn a_client_waits_for_a_server_that_is_not_up_yet() {
    let driver = open(&format!("postgres://u:sesame@127.0.0.1:{}/d", free_port())).await;
    let error = driver.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[tokio::test]
async fn a_server_without_connections_to_spare_is_unavailable() {
    let settings = ["max_connections=4", "superuser_reserved_connections=1"];
    let server = PostgresServer::start(&[&settings[..], &["max_wal_senders=0"]].concat()).await;
    open(&server.url()).await.list().await.unwrap();
    server.sql("CREATE ROLE shop LOGIN PASSWORD 'sesame'").await;
    server.sql(GRANTS).await;
    let url = format!("postgres://shop:sesame@127.0.0.1:{}/postgres", server.port());
    let mut drivers = Vec::new();
    let error = loop {
        let driver = open(&url).await;
        match driver.list().await {
            Ok(_) => drivers.push(driver),
            Err(error) => break error,
        }
        assert!(drivers.len() < 4, "there is no limit");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("53300"), "{error}");
    // A process with a connection goes on, and a free connection is used at once.
    let first = drivers.pop().unwrap();
    first.register(&instance("mail"), LONG_LEASE).await.unwrap();
    drop(drivers);
    let begin = Instant::now();
    let late = open(&url).await;
    while let Err(error) = late.list().await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(begin.elapsed() < PATIENCE, "{error}");
    }
}

#[tokio::test]
async fn connections_that_the_server_ends_are_replaced_without_an_error() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let [before, after] = [instance("a"), instance("b")];
    driver.register(&before, LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    for round in 0..3 {
        let ended = server
            .sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE application_name LIKE 'gosd-%'",
            )
            .await;
        assert_eq!(ended, "2", "that of the watch, and the one that all else shares");
        let moved = gosd_core::Instance::from_parts(
            after.id().clone(),
            "b",
            &format!("http://10.0.0.{round}"),
            [].into(),
        );
        driver.register(&moved, LONG_LEASE).await.unwrap();
        assert_eq!(watch.event().await, Event::Put(moved));
    }
    driver.list().await.unwrap();
    driver.deregister(before.id()).await.unwrap();
    assert_eq!(watch.event().await, Event::Remove(before.id().clone()));
}

/// A pooler or a script that closes each connection of a watch while that waits for changes.
#[tokio::test]
async fn connections_that_are_ended_again_and_again_are_a_lost_contact() {
    let server = PostgresServer::start(&[]).await;
    // The statements that create the schema have the text as well.
    open(&server.url()).await.list().await.unwrap();
    // After the answer to a look; with a server that is slower than that, no connection answers.
    let cutter = Cutter::at("gosd.read_on", Duration::from_millis(50), server.port()).await;
    let url = format!("postgres://postgres:p%40ss@127.0.0.1:{}/postgres", cutter.port());
    let driver = open(&url).await;
    let (mut watch, _) = Watch::start(&*driver).await;
    let told = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    let count = cutter.accepted();
    let error = told.unwrap_or_else(|_| panic!("{count} connections in silence")).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(count <= 4, "{count}");
}

#[tokio::test]
async fn a_killed_server_is_an_error_and_nobody_dies_of_it() {
    let lease = Duration::from_secs(4);
    let mut server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let mail = instance("mail");
    driver.register(&mail, lease).await.unwrap();
    let (mut watch, all) = Watch::start(&*driver).await;
    assert_eq!(all, std::slice::from_ref(&mail));
    server.process().kill().await;
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(driver.list().await.unwrap_err().is_retryable());
    // Longer than the lease.
    tokio::time::sleep(lease + Duration::from_secs(1)).await;
    server.restart().await;
    // The last writes can be lost. Then everything is read again, and all instances register again.
    match watch.event_after_errors().await {
        Event::Resumed => {}
        Event::Reset(all) if all.is_empty() || all == std::slice::from_ref(&mail) => {}
        other => panic!("{other:?}"),
    }
    let begin = Instant::now();
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert!(begin.elapsed() < lease);
    assert_eq!(driver.list().await.unwrap(), [mail]);
}

/// The server's processes exist, and answer nothing.
#[tokio::test]
async fn a_paused_server_is_an_error_within_ten_seconds() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let mail = instance("mail");
    driver.register(&mail, Duration::from_secs(4)).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let pids = server
        .sql("SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE application_name LIKE 'gosd-%'")
        .await;
    signal("STOP", &pids).await;
    let begin = Instant::now();
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    // The postmaster lives, and starts another process for each new connection. No instance has expired while
    // this watch was away, or the watch reports that.
    match watch.event_after_errors().await {
        Event::Resumed | Event::Reset(_) => {}
        other => panic!("{other:?}"),
    }
    signal("CONT", &pids).await;
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), [mail]);
}

/// A registration that was given up takes no effect after the goodbye that follows it.
#[tokio::test]
async fn a_registration_that_was_given_up_takes_no_effect_later() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    driver.list().await.unwrap();
    let mail = instance("mail");
    // Another session holds the lock of the log, so the server cannot execute the registration yet, and the
    // goodbye cannot see it.
    let holder = server.sql("SELECT pg_advisory_lock(1735357284, 1), pg_sleep(3)");
    let given_up = async {
        until(&server, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").await;
        let call = driver.register(&mail, LONG_LEASE);
        assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
        driver.deregister(mail.id()).await.unwrap();
    };
    tokio::join!(holder, given_up);
    until(&server, "SELECT (count(*) = 0)::int FROM pg_stat_activity WHERE state = 'active' AND application_name LIKE 'gosd-%'").await;
    assert_eq!(driver.list().await.unwrap(), []);
}

/// What one instance's write is stuck in on the server keeps no instance from being renewed.
#[tokio::test]
async fn a_write_that_does_not_end_holds_up_no_heartbeat() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let [stuck, lives] = [instance("mail"), instance("mail")];
    driver.register(&lives, LONG_LEASE).await.unwrap();
    let ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'gosd-%'";
    let pid = server.sql(ours).await;
    // A stopped process ends no sooner than one that waits for its disk.
    signal("STOP", &pid).await;
    let call = driver.register(&stuck, LONG_LEASE);
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    for heartbeat in [&lives, &stuck] {
        driver.register(heartbeat, LONG_LEASE).await.unwrap();
    }
    let changed = stuck.clone().with_metadata("zone", "b");
    let error = driver.register(&changed, LONG_LEASE).await.unwrap_err();
    assert!(error.to_string().contains("does not end"), "{error}");
    signal("CONT", &pid).await;
    driver.register(&changed, LONG_LEASE).await.unwrap();
}

#[tokio::test]
async fn late_calls() {
    let server = PostgresServer::start(&[]).await;
    late_calls_of(&server, "postgres:p%40ss").await;
}

/// The processes of the server belong to the user, and not to the role.
#[tokio::test]
async fn late_calls_in_a_role() {
    let server = PostgresServer::start(&[]).await;
    server.sql("CREATE ROLE shop; CREATE SCHEMA gosd AUTHORIZATION shop").await;
    server.sql("CREATE ROLE deploy LOGIN PASSWORD 'sesame' NOINHERIT IN ROLE shop").await;
    server.sql("ALTER ROLE deploy SET role = shop").await;
    late_calls_of(&server, "deploy:sesame").await;
}

async fn late_calls_of(server: &PostgresServer, user: &str) {
    late_calls_undo_nothing(async || {
        let proxy = Proxy::to(server.port()).await;
        let driver = open(&format!("postgres://{user}@127.0.0.1:{}/postgres", proxy.port())).await;
        (proxy, driver)
    })
    .await;
}

/// The owner has ended, so nobody would say goodbye again.
#[tokio::test]
async fn a_goodbye_is_not_lost_when_the_server_is_killed() {
    let mut server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    server.sql("CHECKPOINT").await;
    driver.deregister(mail.id()).await.unwrap();
    server.process().kill().await;
    server.restart().await;
    assert_eq!(open(&server.url()).await.list().await.unwrap(), []);
}

/// Somebody repairs the table, or backs it up, and holds a lock that no write gets past.
#[tokio::test]
async fn a_table_that_is_locked_is_unavailable_and_takes_no_further_connections() {
    let server = PostgresServer::start(&[]).await;
    let driver = open(&server.url()).await;
    let mail = instance("mail");
    driver.register(&mail, LONG_LEASE).await.unwrap();
    let (mut watch, _) = Watch::start(&*driver).await;
    let sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let holder = server.try_sql("BEGIN; LOCK TABLE gosd.instances; SELECT pg_sleep(3600)");
    let refused = async {
        until(&server, &format!("SELECT count(*) {sleeping}")).await;
        for error in [
            driver.register(&mail, LONG_LEASE).await.unwrap_err(),
            driver.deregister(mail.id()).await.unwrap_err(),
            driver.list().await.unwrap_err(),
            watch.next().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("55P03"), "{error}");
        }
        let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'gosd-%'";
        assert_eq!(server.sql(ours).await, "2");
        server.sql(&format!("SELECT pg_terminate_backend(pid) {sleeping}")).await;
    };
    let (ended, ()) = tokio::join!(holder, refused);
    ended.unwrap_err();
    driver.register(&mail, LONG_LEASE).await.unwrap();
    assert_eq!(watch.event_after_errors().await, Event::Resumed);
}

/// Waits until a query counts one.
async fn until(server: &PostgresServer, sql: &str) {
    let begin = Instant::now();
    while server.sql(sql).await != "1" {
        assert!(begin.elapsed() < PATIENCE, "{sql}");
    }
}

#[tokio::test]
async fn a_consumer_that_may_only_read_sees_the_changes_of_others() {
    let server = PostgresServer::start(&[]).await;
    let writer = open(&server.url()).await;
    let [dies, lives] = [instance("dies"), instance("lives")];
    writer.register(&dies, Duration::from_secs(1)).await.unwrap();
    server.sql("CREATE ROLE reader LOGIN PASSWORD 'sesame'").await;
    server.sql("GRANT USAGE ON SCHEMA gosd TO reader").await;
    server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA gosd TO reader").await;
    let url = format!("postgres://reader:sesame@127.0.0.1:{}/postgres", server.port());
    let reader = open(&url).await;
    let (mut watch, all) = Watch::start(&*reader).await;
    assert_eq!(all, std::slice::from_ref(&dies));
    // No instance is known to be able to renew.
    let quiet = tokio::time::timeout(Duration::from_secs(4), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(reader.list().await.unwrap(), std::slice::from_ref(&dies));
    let (mut other, _) = Watch::start(&*writer).await;
    let purged = async {
        loop {
            other.next().await.unwrap();
        }
    };
    let told = async {
        assert_eq!(watch.event().await, Event::Expire(dies.id().clone()));
        writer.register(&lives, LONG_LEASE).await.unwrap();
        assert_eq!(watch.event().await, Event::Put(lives.clone()));
        assert_eq!(reader.list().await.unwrap(), std::slice::from_ref(&lives));
        let error = reader.register(&dies, LONG_LEASE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    };
    tokio::select! {
        () = purged => {}
        () = told => {}
    }
}
