//! Instances to whose URL no request can be sent, which somebody else has registered.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::stream;
use gosd::{Client, Driver, ErrorKind, Instance, Memory, Settings};
use gosd_reqwest::{Error, SendBy};
use reqwest::{Body, StatusCode};
use tokio::net::TcpListener;

use crate::server::{Reply, Server};
use crate::support::{http, nobody};

/// What the Go library registers unjudged: no scheme, another scheme, or an address that was not filled in.
const URLS: [&str; 8] = [
    "localhost:3333",
    "tcp://127.0.0.1:3333",
    "svc:sesame@127.0.0.1:3333",
    "http://",
    "http:/",
    "http://{host}:3333",
    "any text",
    "",
];

/// A client that knows one instance with each of these URLs, which are not judged.
async fn reading(settings: Settings, urls: &[&str]) -> Client {
    let memory = Arc::new(Memory::new());
    for (number, url) in urls.iter().enumerate() {
        let id = format!("orders-{number}").as_str().into();
        let instance = Instance::from_parts(id, "orders", url, BTreeMap::new());
        memory.register(&instance, Duration::from_secs(600)).await.unwrap();
    }
    Client::builder(memory).settings(settings).start().await.unwrap()
}

#[tokio::test]
async fn they_are_passed_over() {
    let live = Server::start(Reply::Status(201)).await;
    for unusable in URLS {
        let before = live.received();
        let settings = Settings::default().eject_after(0);
        let gosd = reading(settings, &[unusable, &live.url()]).await;
        for _ in 0..4 {
            let answer = http().post("gosd://orders/7").body("order").send_by(&gosd).await;
            assert_eq!(answer.unwrap().status(), StatusCode::CREATED, "{unusable}");
        }
        assert_eq!(live.received() - before, 4, "{unusable}");
    }
}

/// Its body was not touched, so that it need not be copied.
#[tokio::test]
async fn a_request_with_a_body_that_streams_passes_them_over() {
    let live = Server::start(Reply::Status(201)).await;
    // What is wrong with the host, reqwest finds only when it has the request.
    for unusable in URLS.iter().filter(|url| !url.contains('{')) {
        let gosd = reading(Settings::default().eject_after(0), &[unusable, &live.url()]).await;
        for _ in 0..2 {
            let body = Body::wrap_stream(stream::iter([Ok::<_, io::Error>("order")]));
            let answer = http().post("gosd://orders/7").body(body).send_by(&gosd).await;
            assert_eq!(answer.unwrap().status(), StatusCode::CREATED, "{unusable}");
        }
    }
}

#[tokio::test]
async fn an_error_of_the_lookup_says_that_nothing_was_sent() {
    for reply in [Reply::Close, Reply::Status(503)] {
        let live = Server::start(reply).await;
        // In either order, for one of these requests is sent before it comes to the other instance.
        let gosd = reading(Settings::default().eject_after(0), &[&live.url(), "tcp://h:1"]).await;
        for sent in 1..=4 {
            let answer = http().get("gosd://orders/7").send_by(&gosd).await;
            assert_eq!(live.received(), sent);
            match reply {
                Reply::Status(status) => assert_eq!(answer.unwrap().status(), status),
                _ => assert!(matches!(answer, Err(Error::Http(_))), "{answer:?}"),
            }
        }
    }
    // Nor was anything sent over a connection that could not be made, but then the error says so.
    let gosd = reading(Settings::default().eject_after(0), &[&nobody(), "tcp://h:1"]).await;
    for _ in 0..2 {
        let error = http().get("gosd://orders/7").send_by(&gosd).await.unwrap_err();
        assert!(matches!(&error, Error::Http(error) if error.is_connect()), "{error}");
    }
}

#[tokio::test]
async fn they_are_ejected() {
    let live = Server::start(Reply::Status(200)).await;
    for unusable in URLS {
        let gosd = reading(Settings::default(), &[unusable, &live.url()]).await;
        for _ in 0..6 {
            http().get("gosd://orders/7").send_by(&gosd).await.unwrap();
        }
        let ejected = gosd.ejected();
        assert_eq!(ejected.iter().map(|it| it.url()).collect::<Vec<_>>(), [unusable]);
    }
}

#[tokio::test]
async fn the_error_says_which_instance_it_is() {
    for unusable in URLS {
        let gosd = reading(Settings::default(), &[unusable]).await;
        let error = http().get("gosd://orders/7").send_by(&gosd).await.unwrap_err();
        let said = format!("{error} {error:?}");
        match error {
            Error::Lookup(error) => assert_eq!(error.kind(), ErrorKind::Data, "{unusable}"),
            // reqwest finds fault with the host.
            Error::Http(error) => assert!(error.is_builder() && unusable.contains('{'), "{error}"),
            _ => panic!("{error}"),
        }
        assert!(said.contains("orders-0") || unusable.contains('{'), "{said}");
        assert!(!said.contains("sesame"), "{said}");
    }
}

#[tokio::test]
async fn a_redirect_to_where_no_request_can_be_sent_is_no_such_instance() {
    // Another scheme, and a URL that is none.
    for location in ["ftp://elsewhere/", "http://127.0.0.1:99999/", "http://{host}/"] {
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let app = Router::new().fallback(async move || {
            count.fetch_add(1, Ordering::SeqCst);
            (StatusCode::TEMPORARY_REDIRECT, [("location", location)])
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let urls = ["/a", "/b"].map(|path| format!("http://127.0.0.1:{port}{path}"));
        let gosd = reading(Settings::default(), &urls.each_ref().map(|url| &**url)).await;
        let sent = http().post("gosd://orders/7").body("order").send_by(&gosd).await;
        // The request was sent, so it must not be sent again, whatever reqwest makes of the answer.
        assert_eq!(received.load(Ordering::SeqCst), 1, "{location}: {sent:?}");
        server.abort();
    }
}
