//! A client that reaches nobody for a while.

use std::time::Duration;

use gosd_reqwest::SendBy;
use gosd_testservers::{Mode, Proxy};
use tokio::time::{Instant, sleep};

use crate::server::{Reply, Server};
use crate::support::{http, knowing, nobody};

#[tokio::test]
async fn whoever_was_cut_off_from_all_has_them_back_with_the_cable() {
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
async fn of_two_of_which_one_is_dead_the_other_one_stays() {
    let live = Server::start(Reply::Status(200)).await;
    let gosd = knowing([nobody(), live.url()]).await;
    let http = http();
    for _ in 0..100 {
        http.post("gosd://orders/").send_by(&gosd).await.unwrap();
        assert!(gosd.ejected().iter().all(|it| it.url() != live.url()));
    }
    assert_eq!(live.received(), 100);
}
