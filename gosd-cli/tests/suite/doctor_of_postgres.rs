//! `gosd doctor` of PostgreSQL: each finding by what causes it, and none where all is well.

use gosd_testservers::{PostgresServer, WallClock};

use crate::doctor::{USUAL, examine, is_well};
use crate::support::{LEASE, Place, fixed};

/// The registry of a server, as another of its users sees it.
fn of(server: &PostgresServer, user: &str) -> Place {
    Place::at(format!("postgres://{user}:sesame@127.0.0.1:{}/postgres", server.port()))
}

#[tokio::test]
async fn a_healthy_server() {
    is_well(&Place::postgres().await).await;
}

#[tokio::test]
async fn one_that_lets_this_user_only_read_or_not_at_all() {
    let server = PostgresServer::start(&[]).await;
    server.sql("CREATE ROLE reader LOGIN PASSWORD 'sesame'").await;
    let found = examine(&of(&server, "reader"));
    assert_eq!((found.ran.code, found.names()), (1, vec!["no-rights"]), "{found:?}");
    let found = examine(&of(&server, "nobody"));
    assert_eq!((found.ran.code, found.names()), (1, vec!["no-rights"]), "{found:?}");

    is_well(&Place::at(server.url())).await;
    server.sql("GRANT USAGE ON SCHEMA gosd TO reader").await;
    server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA gosd TO reader").await;
    let found = examine(&of(&server, "reader"));
    assert_eq!((found.ran.code, found.names()), (1, vec!["read-only"]), "{found:?}");
}

#[tokio::test]
async fn one_that_takes_no_writes() {
    let server = PostgresServer::start(&["default_transaction_read_only=on"]).await;
    let found = examine(&Place::at(server.url()));
    assert_eq!((found.ran.code, found.names()), (4, vec!["no-contact"]), "{found:?}");
    let what = found.one("no-contact")["what"].as_str().unwrap();
    assert!(what.contains("default_transaction_read_only"), "{what}");
}

#[tokio::test]
async fn one_that_is_almost_out_of_connections() {
    let server = PostgresServer::start(&["max_connections=6", "max_wal_senders=0"]).await;
    let place = Place::at(server.url());
    let mut others = Vec::new();
    for _ in 0..2 {
        let driver = place.driver().await;
        driver.list().await.unwrap();
        others.push(driver);
    }
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["connections"]), "{found:?}");
}

#[tokio::test]
async fn one_that_holds_what_other_software_wrote() {
    let server = PostgresServer::start(&[]).await;
    let place = Place::at(server.url());
    place.driver().await.register(&fixed("mail", 1, "http://10.0.0.7:25"), USUAL).await.unwrap();
    let by_hand = fixed("mail", 2, "http://10.0.0.8:25");
    for (id, metadata, ends) in
        [(by_hand.id().as_str(), "{}", "infinity"), ("bad-1", "[1]", "tomorrow")]
    {
        let row = format!("('{id}', 'mail', 'http://10.0.0.8:25', '{metadata}', '{ends}')");
        let columns = "id, service, url, metadata, expires_at";
        server.sql(&format!("INSERT INTO gosd.instances ({columns}) VALUES {row}")).await;
    }
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["unreadable", "no-lease"]), "{found:?}");
    assert!(found.one("unreadable")["what"].as_str().unwrap().contains("bad-1"), "{found:?}");
    assert_eq!(found.one("no-lease")["ids"], serde_json::json!([by_hand.id().as_str()]));

    server.sql("DROP SCHEMA gosd CASCADE; CREATE SCHEMA gosd").await;
    server.sql("CREATE TABLE gosd.orders (id int)").await;
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["unusable"]), "{found:?}");
}

#[tokio::test]
async fn one_with_leases_that_disagree() {
    let place = Place::postgres().await;
    let long = fixed("mail", 1, "http://10.0.0.7:25");
    let driver = place.driver().await;
    driver.register(&long, LEASE).await.unwrap();
    driver.register(&fixed("mail", 2, "http://10.0.0.8:25"), USUAL).await.unwrap();
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["lease"]), "{found:?}");
    assert_eq!(found.one("lease")["ids"], serde_json::json!([long.id().as_str()]));
}

#[tokio::test]
async fn one_whose_clock_is_wrong_and_in_which_a_transaction_stays_open() {
    let clock = WallClock::ahead_by(-3_600).await;
    let server = PostgresServer::start_with_clock(&clock).await;
    let place = Place::at(server.url());
    let found = examine(&place);
    assert_eq!((found.ran.code, found.names()), (1, vec!["clock"]), "{found:?}");
    let what = found.one("clock")["what"].as_str().unwrap();
    assert!(what.contains("behind") && (what.contains("60m") || what.contains("59m")), "{what}");

    let open = server.sql("SELECT pg_sleep(86400)");
    let looking = async {
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while server.sql(asleep).await != "1" {}
        clock.set(0);
        examine(&place)
    };
    let found = tokio::select! {
        _ = open => panic!("it sleeps for a day"),
        found = looking => found,
    };
    assert_eq!((found.ran.code, found.names()), (1, vec!["long-transaction"]), "{found:?}");
}
