//! A client that cannot reach any instance for a while.

use std::time::Duration;

use gosd_reqwest::SendBy;
use gosd_testservers::{Mode, Proxy};
use tokio::time::{Instant, sleep};

use crate::server::{Reply, Server};
use crate::support::{http, knowing, nobody};

#[tokio::test]
async fn a_client_that_was_cut_off_has_all_instances_back_with_the_network() {
    let mut servers = Vec::new();
    let mut cables = Vec::new();
    for _ in 0..3 {
        let server = Server::start(Reply::Status(200)).await;
        cables.push(Proxy::to(server.port).await);
        servers.push(server);
    }
    let gosd = knowing(cables.iter().map(|it| format!("http://127.0.0.1:{}", it.port()))).await;
    let http = http();
    let ask = async || http.get("gosd://orders/").send_by(&gosd).await.is_ok();
    assert!(ask().await);

    cables.iter().for_each(|cable| cable.set(Mode::Refuse));
    let cut = Instant::now();
    while cut.elapsed() < Duration::from_secs(2) {
        assert!(!ask().await);
        sleep(Duration::from_millis(10)).await;
    }
    let before: Vec<_> = servers.iter().map(Server::received).collect();
    cables.iter().for_each(|cable| cable.set(Mode::Pass));
    for _ in 0..30 {
        assert!(ask().await);
    }
    assert!(gosd.ejected().is_empty());
    let after = servers.iter().map(Server::received);
    assert!(after.zip(before).all(|(after, before)| after == before + 10));
}

#[tokio::test]
async fn of_two_instances_the_living_one_stays_in_rotation() {
    let live = Server::start(Reply::Status(200)).await;
    let gosd = knowing([nobody(), live.url()]).await;
    let http = http();
    for _ in 0..100 {
        http.post("gosd://orders/").send_by(&gosd).await.unwrap();
        assert!(gosd.ejected().iter().all(|it| it.url() != live.url()));
    }
    assert_eq!(live.received(), 100);
}
