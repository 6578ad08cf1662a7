//! Which requests are sent again, and which are not.

use std::io;
use std::time::{Duration, Instant};

use futures_util::stream;
use gosd::{Client, Settings};
use gosd_reqwest::{Error, SendBy};
use reqwest::{Body, Method, StatusCode};

use crate::server::{Reply, Server};
use crate::support::{http, knowing, nobody, with_settings};

const LATE: Duration = Duration::from_secs(60);

async fn servers(replies: &[Reply]) -> (Vec<Server>, Client) {
    let mut servers = Vec::new();
    for reply in replies {
        servers.push(Server::start(*reply).await);
    }
    let gosd = knowing(servers.iter().map(Server::url)).await;
    (servers, gosd)
}

fn received(servers: &[Server]) -> usize {
    servers.iter().map(Server::received).sum()
}

fn streaming() -> Body {
    Body::wrap_stream(stream::iter(["or", "der"].map(Ok::<_, io::Error>)))
}

#[tokio::test]
async fn requests_go_to_all_instances_in_turn() {
    let (servers, gosd) = servers(&[Reply::Status(200); 3]).await;
    let http = http();
    for _ in 0..300 {
        http.get("gosd://orders/7").send_by(&gosd).await.unwrap();
    }
    assert_eq!(servers.iter().map(Server::received).collect::<Vec<_>>(), [100; 3]);
}

#[tokio::test]
async fn an_unanswered_request_is_sent_as_often_as_its_method_allows() {
    let table = [
        (Method::GET, false, 2),
        (Method::HEAD, false, 2),
        (Method::PUT, false, 2),
        (Method::DELETE, false, 2),
        (Method::POST, false, 1),
        (Method::PATCH, false, 1),
        (Method::POST, true, 2),
    ];
    for (method, has_key, arrive) in table {
        let (servers, gosd) = servers(&[Reply::Close; 3]).await;
        let mut request = http().request(method.clone(), "gosd://orders/").body("order");
        if has_key {
            request = request.header("Idempotency-Key", "1");
        }
        let error = request.send_by(&gosd).await.unwrap_err();
        assert!(matches!(error, Error::Http(_)), "{error}");
        assert_eq!(received(&servers), arrive, "{method} with a key: {has_key}");
    }
}

#[tokio::test]
async fn a_request_that_was_not_sent_goes_to_another_instance() {
    let live = Server::start(Reply::Status(201)).await;
    let gosd =
        with_settings(Settings::default().eject_after(0), [nobody(), nobody(), live.url()]).await;
    for _ in 0..6 {
        let answer = http().post("gosd://orders/").body("order").send_by(&gosd).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    assert_eq!(live.received(), 6);
}

#[tokio::test]
async fn a_body_that_streams_is_sent_once() {
    let (servers, gosd) = servers(&[Reply::Close; 2]).await;
    http().put("gosd://orders/").body(streaming()).send_by(&gosd).await.unwrap_err();
    assert_eq!(received(&servers), 1);

    let gosd = knowing([nobody(), nobody()]).await;
    let error = http().put("gosd://orders/").body(streaming()).send_by(&gosd).await.unwrap_err();
    assert!(matches!(error, Error::Http(error) if error.is_connect()));
}

#[tokio::test]
async fn a_broken_body_of_the_caller_is_no_failure_of_an_instance() {
    let (_servers, gosd) = servers(&[Reply::Status(200); 2]).await;
    for _ in 0..10 {
        let broken = stream::iter([Err::<&str, _>(io::Error::other("broken"))]);
        let request = http().put("gosd://orders/").body(Body::wrap_stream(broken));
        request.send_by(&gosd).await.unwrap_err();
    }
    assert!(gosd.ejected().is_empty());
    assert_eq!(gosd.stats().ejections, 0);
}

#[tokio::test]
async fn an_error_of_the_service_is_an_answer() {
    let (servers, gosd) = servers(&[Reply::Status(500); 2]).await;
    for _ in 0..10 {
        let answer = http().get("gosd://orders/").send_by(&gosd).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(received(&servers), 10);
    assert_eq!(gosd.stats().ejections, 0);
}

#[tokio::test]
async fn when_all_refuse_the_caller_gets_the_refusal_and_no_instance_is_ejected() {
    let (servers, gosd) = servers(&[Reply::Status(503); 2]).await;
    let began = Instant::now();
    for _ in 0..100 {
        let answer = http().get("gosd://orders/").send_by(&gosd).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(gosd.ejected().is_empty());
    // A fifth of the requests was sent again, and ten more, which the budget grants again every ten seconds.
    let windows = 1 + began.elapsed().as_secs() as usize / 10;
    let sent = received(&servers);
    assert!((100 + 20 + 10..=100 + 20 + 10 * windows).contains(&sent), "{sent}");
}

#[tokio::test]
async fn an_instance_that_refuses_does_not_keep_others_from_answering() {
    let (_servers, gosd) = servers(&[Reply::Status(503), Reply::Status(200)]).await;
    for _ in 0..10 {
        let answer = http().get("gosd://orders/").send_by(&gosd).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn an_answer_is_not_swallowed() {
    let refusing = Server::start(Reply::Status(503)).await;
    let settings = Settings::default().eject_after(0);
    let gosd = with_settings(settings, [refusing.url(), nobody()]).await;
    for _ in 0..4 {
        let answer = http().get("gosd://orders/").send_by(&gosd).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn a_refusal_from_where_an_instance_redirects_is_no_failure_of_the_instance() {
    let elsewhere = Server::start(Reply::Status(503)).await;
    let (servers, gosd) = servers(&[Reply::Redirect(elsewhere.port); 2]).await;
    for _ in 0..4 {
        let answer = http().get("gosd://orders/").send_by(&gosd).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!((received(&servers), elsewhere.received()), (4, 4));
    assert!(gosd.ejected().is_empty());
}

#[tokio::test]
async fn a_slow_instance_is_not_ejected() {
    let (servers, gosd) = servers(&[Reply::Silence; 2]).await;
    for _ in 0..6 {
        let request = http().get("gosd://orders/").timeout(Duration::from_millis(20));
        let error = request.send_by(&gosd).await.unwrap_err();
        assert!(matches!(error, Error::Http(error) if error.is_timeout()));
    }
    assert!(received(&servers) <= 6, "nothing is sent again");
    assert_eq!(gosd.stats().ejections, 0);
}

#[tokio::test]
async fn the_wait_for_a_service_ends_with_the_request_s_timeout() {
    let nobody = knowing([]).await;
    let request = http().get("gosd://orders/").timeout(Duration::from_millis(20));
    let error = request.send_by(&nobody).await.unwrap_err();
    assert!(matches!(error, Error::Lookup(error) if error.kind() == gosd::ErrorKind::Timeout));
}

#[tokio::test]
async fn a_request_waits_for_the_service_as_next_does() {
    let gosd = knowing([]).await;
    let server = Server::start(Reply::Status(200)).await;
    let http = http();
    let asking = http.get("gosd://orders/").send_by(&gosd);
    let appearing = async { gosd.add_local("orders", &server.url()).unwrap() };
    let (answer, _) = tokio::time::timeout(LATE, async { tokio::join!(asking, appearing) })
        .await
        .expect("it does not wait for ever");
    assert_eq!(answer.unwrap().status(), StatusCode::OK);

    let settings = Settings::default().try_find_service_delay(Duration::from_millis(1));
    let nobody = with_settings(settings, []).await;
    let error = http.get("gosd://orders/").send_by(&nobody).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("no instance of \"orders\" is registered"), "{said}");
}

#[tokio::test]
async fn send_by_turn_uses_the_selection_of_the_turn() {
    let (canary, other) =
        (Server::start(Reply::Status(200)).await, Server::start(Reply::Status(200)).await);
    let gosd = knowing([canary.url(), other.url()]).await;
    let url = canary.url();
    let mut canaries = gosd.service_where("orders", move |it| it.url() == url);
    for _ in 0..10 {
        let turn = canaries.turn().unwrap();
        http().get("gosd://orders/").send_by_turn(turn).await.unwrap();
    }
    assert_eq!((canary.received(), other.received()), (10, 0));

    let turn = canaries.turn().unwrap();
    let error = http().get("gosd://mail/").send_by_turn(turn).await.unwrap_err();
    assert!(matches!(error, Error::Lookup(error) if error.kind() == gosd::ErrorKind::Config));
}
