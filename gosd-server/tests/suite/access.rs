//! Access: which clients are let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use gosd_core::{ErrorKind, Memory};
use gosd_server::{Settings, router, serve};
use gosd_testservers::Certificates;
use tokio::time::timeout;
use tower_service::Service;

use super::support::{LATE, LEASE, ask, http, instance, memory, open, registration, start, url};

const OLD: &str = "the-token-of-last-year";
const NEW: &str = "the-token-of-this-year";
const EYE: &str = "the-token-of-a-dashboard";

fn with_tokens() -> Settings {
    let settings = Settings::new().token(OLD).and_then(|settings| settings.token(NEW));
    settings.and_then(|settings| settings.read_only_token(EYE)).unwrap()
}

#[tokio::test]
async fn tokens_let_read_or_write() {
    let (server, _) = memory(with_tokens()).await;
    let list = url(&server, "/v1/gosd/instances");
    let one = url(&server, "/v1/gosd/instances/mail-1");
    for (token, may_read, may_write) in [
        (None, 401, 401),
        (Some(""), 401, 401),
        (Some("the-token-of-next-year"), 401, 401),
        (Some(EYE), 200, 403),
        (Some(OLD), 200, 204),
        (Some(NEW), 200, 204),
    ] {
        let bearing = |request: reqwest::RequestBuilder| match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let read = ask(bearing(http().get(&list))).await;
        assert_eq!(read.status, may_read, "{token:?}");
        if may_read == 401 {
            assert_eq!(read.headers["www-authenticate"], "Bearer");
        }
        assert_eq!(ask(bearing(http().put(&one).json(&registration()))).await.status, may_write);
        assert_eq!(ask(bearing(http().delete(&one))).await.status, may_write, "{token:?}");
        let events = bearing(http().get(url(&server, "/v1/gosd/events"))).send().await.unwrap();
        assert_eq!(events.status(), may_read, "{token:?}");
    }
}

#[tokio::test]
async fn the_driver_takes_its_token_from_the_url_and_shows_it_nowhere() {
    let (server, _) = memory(with_tokens()).await;
    let mail = instance("mail");
    let driver = open(&format!("http://:{NEW}@{}", server.address())).await;
    driver.register(&mail, LEASE).await.unwrap();
    assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&mail));
    for (token, operation) in [("a-token-that-is-wrong", "any"), (EYE, "write")] {
        let driver = open(&format!("http://:{token}@{}", server.address())).await;
        let error = driver.register(&mail, LEASE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{operation}");
        assert!(!format!("{error} {error:?}").contains(token), "{error:?}");
    }
}

#[tokio::test]
async fn without_a_token_only_loopback_is_served() {
    let settings = || Settings::new().namespace("gosd", Arc::new(Memory::new())).unwrap();
    let error = serve("0.0.0.0:0", settings()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("loopback"), "{error}");
    for settings in [settings().allow_everybody_without_token(), settings().token(NEW).unwrap()] {
        assert!(serve("0.0.0.0:0", settings).await.is_ok());
    }
}

#[tokio::test]
async fn without_a_token_a_foreign_host_is_refused() {
    let (server, _) = memory(Settings::new()).await;
    for (host, status) in [("localhost", 200), ("[::1]:80", 200), ("evil.example", 403)] {
        let request = http().get(url(&server, "/v1/gosd/instances")).header("host", host);
        assert_eq!(ask(request).await.status, status, "{host}");
    }
}

async fn status(router: &Router, peer: Option<&str>, token: Option<&str>) -> u16 {
    let mut request = Request::builder().uri("/v1/gosd/instances").header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    if let Some(peer) = peer {
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
    }
    let answer: Response = router.clone().call(request).await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn a_mounted_router_refuses_peers_that_are_not_on_loopback() {
    let settings = || Settings::new().namespace("gosd", Arc::new(Memory::new())).unwrap();
    let local = router(settings());
    assert_eq!(status(&local, Some("127.0.0.1:9"), None).await, 200);
    assert_eq!(status(&local, Some("10.0.0.7:9"), None).await, 403);
    assert_eq!(status(&local, None, None).await, 403);
    let open = router(settings().allow_everybody_without_token());
    assert_eq!(status(&open, Some("10.0.0.7:9"), None).await, 200);
    let guarded = router(settings().token(NEW).unwrap());
    assert_eq!(status(&guarded, Some("10.0.0.7:9"), Some(NEW)).await, 200);
    assert_eq!(status(&guarded, Some("127.0.0.1:9"), None).await, 401);
}

#[tokio::test]
async fn tls_uses_the_certificates_as_they_are_renewed() {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let settings = Settings::new().tls(ours.path("server.pem"), ours.path("server.key"));
    let (server, _) = memory(settings).await;
    let (plain, _) = memory(Settings::new()).await;
    let (port, plain_port) = (server.address().port(), plain.address().port());
    for (url, kind) in [
        (format!("https://localhost:{port}?ca={}", ours.text("ca.pem")), None),
        (format!("https://localhost:{port}?ca={}", others.text("ca.pem")), Some(ErrorKind::Config)),
        (format!("https://localhost:{port}"), Some(ErrorKind::Config)),
        (format!("https://localhost:{port}?ca=/nowhere.pem"), Some(ErrorKind::Config)),
        (format!("https://localhost:{plain_port}"), Some(ErrorKind::Config)),
        (format!("http://localhost:{port}"), Some(ErrorKind::Unavailable)),
    ] {
        let listed = open(&url).await.list().await;
        assert_eq!(listed.as_ref().err().map(gosd_core::Error::kind), kind, "{url}: {listed:?}");
    }
    // The renewed certificate, of another authority, is used for new connections after a second at most.
    let url = format!("https://localhost:{port}?ca={}", ours.text("ca.pem"));
    ours.renew();
    let renewed = async {
        while open(&url).await.list().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LATE, renewed).await.expect("the renewed certificate is used");
    std::fs::write(ours.path("server.pem"), "half a").unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(open(&url).await.list().await.is_ok(), "the one before goes on to be used");

    let bad = Settings::new().tls(ours.path("server.pem"), others.path("server.key"));
    assert_eq!(serve("127.0.0.1:0", bad).await.unwrap_err().kind(), ErrorKind::Config);
    drop(start(Settings::new()).await);
}
