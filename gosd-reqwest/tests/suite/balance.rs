//! The middleware: the same rules, and the middlewares after it see each attempt.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gosd::ErrorKind;
use gosd_reqwest::Balance;
use http::Extensions;
use http::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, Error, Middleware, Next, Result};

use crate::server::{Reply, Server};
use crate::support::{http, knowing, nobody, with_settings};

/// Counts the requests that pass, and records their timeouts.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>, Arc<Mutex<Vec<Duration>>>);

#[async_trait]
impl Middleware for Counting {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.lock().unwrap().extend(request.timeout());
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn a_request_goes_on_by_the_same_rules() {
    let live = Server::start(Reply::Status(200)).await;
    let settings = gosd::Settings::default().eject_after(0);
    let gosd = with_settings(settings, [nobody(), live.url()]).await;
    let (whole, each) = (Counting::default(), Counting::default());
    let http = ClientBuilder::new(http())
        .with(whole.clone())
        .with(Balance::new(gosd))
        .with(each.clone())
        .build();
    for _ in 0..10 {
        http.post("gosd://orders/").body("order").send().await.unwrap();
    }
    assert_eq!(live.received(), 10);
    assert_eq!(whole.0.load(Ordering::SeqCst), 10);
    assert_eq!(each.0.load(Ordering::SeqCst), 15);
}

#[tokio::test]
async fn a_post_that_nobody_answers_is_sent_once() {
    let servers = [Server::start(Reply::Close).await, Server::start(Reply::Close).await];
    let gosd = knowing(servers.iter().map(Server::url)).await;
    let http = ClientBuilder::new(http()).with(Balance::new(gosd)).build();
    let error = http.post("gosd://orders/").body("order").send().await.unwrap_err();
    assert!(matches!(error, Error::Reqwest(_)));
    assert_eq!(servers.iter().map(Server::received).sum::<usize>(), 1);
}

#[tokio::test]
async fn other_requests_are_unchanged() {
    let server = Server::start(Reply::Status(200)).await;
    let http = ClientBuilder::new(http()).with(Balance::new(knowing([]).await)).build();
    http.get(server.url()).send().await.unwrap();
    assert_eq!(server.received(), 1);
}

#[tokio::test]
async fn an_error_of_the_lookup_says_what_it_is() {
    let settings = gosd::Settings::default().try_find_service_amount(0);
    let gosd = with_settings(settings, []).await;
    let http = ClientBuilder::new(http()).with(Balance::new(gosd)).build();
    let error = http.get("gosd://orders/").send().await.unwrap_err();
    let Error::Middleware(error) = error else { panic!("{error}") };
    let error = error.downcast_ref::<gosd::Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_timeout_holds_for_all_attempts_together() {
    const LATE: Duration = Duration::from_secs(600);
    let servers = [Server::start(Reply::Close).await, Server::start(Reply::Status(200)).await];
    let settings = gosd::Settings::default().eject_after(0);
    let gosd = with_settings(settings, servers.iter().map(Server::url)).await;
    let each = Counting::default();
    let http = ClientBuilder::new(http()).with(Balance::new(gosd)).with(each.clone()).build();
    while servers[0].received() == 0 {
        each.1.lock().unwrap().clear();
        http.get("gosd://orders/").timeout(LATE).send().await.unwrap();
    }
    let timeouts = each.1.lock().unwrap().clone();
    assert!(timeouts.len() == 2 && LATE > timeouts[0] && timeouts[0] > timeouts[1], "{timeouts:?}");
}

/// Records the headers `Authorization` that pass, and the URLs.
#[derive(Clone, Default)]
struct Recording(Arc<Mutex<Vec<Seen>>>);

type Seen = (Option<HeaderValue>, String);

#[async_trait]
impl Middleware for Recording {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        self.0.lock().unwrap().push((authorization, request.url().to_string()));
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn a_password_of_an_instance_is_in_a_sensitive_header_and_nowhere_else() {
    let (dead, live) = (nobody(), Server::start(Reply::Status(200)).await);
    let settings = gosd::Settings::default().eject_after(0);
    let urls = [dead.replace("http://", "http://svc:sesame@"), live.url()];
    let gosd = with_settings(settings, urls).await;
    let recording = Recording::default();
    let http = ClientBuilder::new(http()).with(Balance::new(gosd)).with(recording.clone()).build();
    for _ in 0..4 {
        http.post("gosd://orders/").body("order").send().await.unwrap();
    }
    let mut seen = recording.0.lock().unwrap().clone();
    assert!(!format!("{seen:?}").contains("sesame"), "{seen:?}");
    seen.retain(|(header, _)| header.as_ref().is_some_and(HeaderValue::is_sensitive));
    assert!(seen.len() == 2 && seen.iter().all(|(_, url)| url.starts_with(&dead)), "{seen:?}");
}
