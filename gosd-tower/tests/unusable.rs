//! Instances to whose URL no request can be sent, which somebody else has registered.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Client, Driver, Error, ErrorKind, Failure, Instance, Memory, Settings};
use gosd_testservers::{collect_spans, free_port, spans_to};
use gosd_tower::BalanceLayer;
use http::{Request, Response};
use tower::{BoxError, Layer, ServiceExt};

/// What the Go library registers unjudged: no scheme, another scheme, or an address that was not filled in.
const URLS: [&str; 9] = [
    "localhost:3333",
    "redis://127.0.0.1:3333",
    "svc:sesame@127.0.0.1:3333",
    "http://",
    "http:/",
    "http://{host}:3333",
    "http://svc:sesame@{host}:3333",
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

/// Sends a request by a service that answers with the URI that it was given.
async fn post(gosd: &Client) -> Result<String, BoxError> {
    let sender = tower::service_fn(|request: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(request.uri().to_string())))
    });
    let layer = BalanceLayer::new(gosd.clone(), |()| Some(()), |_: &Infallible| None::<Failure>);
    let request = Request::post("gosd://orders/7").body(()).unwrap();
    layer.layer(sender).oneshot(request).await.map(Response::into_body)
}

#[tokio::test]
async fn they_are_passed_over() {
    for unusable in URLS {
        let settings = Settings::default().eject_after(0);
        let gosd = reading(settings, &[unusable, "http://127.0.0.1:80"]).await;
        for _ in 0..4 {
            assert_eq!(post(&gosd).await.unwrap(), "http://127.0.0.1:80/7", "{unusable}");
        }
    }
}

#[tokio::test]
async fn they_are_ejected() {
    for unusable in URLS {
        let gosd = reading(Settings::default(), &[unusable, "http://127.0.0.1:80"]).await;
        for _ in 0..6 {
            post(&gosd).await.unwrap();
        }
        let ejected = gosd.ejected();
        assert_eq!(ejected.iter().map(|it| it.url()).collect::<Vec<_>>(), [unusable]);
    }
}

#[tokio::test]
async fn the_error_says_which_instance_it_is() {
    for unusable in URLS {
        let gosd = reading(Settings::default(), &[unusable]).await;
        let error = post(&gosd).await.unwrap_err();
        let error = error.downcast_ref::<Error>().unwrap();
        assert_eq!(error.kind(), ErrorKind::Data, "{unusable}");
        let said = format!("{error} {error:?}");
        assert!(said.contains("orders-0") && !said.contains("sesame"), "{said}");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_copied_passes_them_over() {
    for unusable in URLS {
        let settings = Settings::default().eject_after(0);
        let gosd = reading(settings, &[unusable, "http://127.0.0.1:80"]).await;
        let sender = tower::service_fn(|request: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(request.uri().to_string())))
        });
        let never = |_: &Infallible| None::<Failure>;
        let service = BalanceLayer::new(gosd, |()| None, never).layer(sender);
        for _ in 0..4 {
            let request = Request::post("gosd://orders/7").body(()).unwrap();
            let answer = service.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.body(), "http://127.0.0.1:80/7", "{unusable}");
        }
    }
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_what_the_error_says() {
    let settings = Settings::default().eject_after(0);
    let gosd = reading(settings, &["http://", "http://127.0.0.1:80"]).await;
    let sender = tower::service_fn(|_: Request<()>| {
        ready(Err::<Response<()>, _>(std::io::Error::other("cut off")))
    });
    for failure in [Failure::Unanswered, Failure::Unsent] {
        let judged = move |_: &std::io::Error| Some(failure);
        let service = BalanceLayer::new(gosd.clone(), |()| Some(()), judged).layer(sender);
        for _ in 0..4 {
            let request = Request::get("gosd://orders/7").body(()).unwrap();
            let error = service.clone().oneshot(request).await.unwrap_err();
            assert_eq!(error.to_string(), "cut off");
        }
    }
}

#[tokio::test]
async fn they_count_as_no_resend() {
    collect_spans();
    let (dead, live) = (free_port(), free_port());
    let [at_dead, at_live] = [dead, live].map(|port| format!("http://127.0.0.1:{port}"));
    let settings = Settings::default().eject_after(0);
    let gosd = reading(settings, &[&at_dead, "redis://127.0.0.1:3333", &at_live]).await;
    let sender = tower::service_fn(move |request: Request<()>| {
        ready(match request.uri().port_u16() == Some(dead) {
            true => Err(std::io::Error::other("nobody is there")),
            false => Ok(Response::new(())),
        })
    });
    let unsent = |_: &std::io::Error| Some(Failure::Unsent);
    let service = BalanceLayer::new(gosd, |()| Some(()), unsent).layer(sender);
    while spans_to(dead).is_empty() {
        let request = Request::post("gosd://orders/7").body(()).unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(spans_to(live).pop().unwrap()["http.request.resend_count"], "1");
}
