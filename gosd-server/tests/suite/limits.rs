//! Limits: clients that ask for too much, or take too long.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures_util::StreamExt;
use futures_util::future::join_all;
use gosd_core::{Driver, Event, Memory};
use gosd_server::{Limits, Settings, router};
use gosd_testkit::{Fault, Faulty, Operation};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tower_service::Service;

use super::support::{
    LATE, LEASE, ask, http, instance, memory, open, raw, read_until, registration, start, url,
};

const EVENTS: &[u8] = b"GET /v1/gosd/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn with(set: impl FnOnce(&mut Limits)) -> Settings {
    let mut limits = Limits::default();
    set(&mut limits);
    Settings::new().limits(limits)
}

#[tokio::test]
async fn too_many_requests_are_refused() {
    let settings = with(|limits| {
        limits.burst = 5;
        limits.requests_per_second = 1;
    });
    let (server, _) = memory(settings).await;
    // All at once: a busy machine may need so long for one after the other that each is allowed.
    let client = http();
    let asked = (0..50).map(|_| ask(client.get(url(&server, "/v1/gosd/instances"))));
    let answers = join_all(asked).await;
    assert!(answers.iter().filter(|answer| answer.status == 200).count() >= 5);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a refusal");
    assert_eq!(refused.headers["retry-after"], "1");
}

/// No limit is to blame for that which the server's owner could raise.
#[tokio::test(start_paused = true)]
async fn who_asks_too_often_without_a_token_is_told_to_send_one() {
    const TOKEN: &str = "a-token-of-this-server";
    let mut routes = router(Settings::new().token(TOKEN).unwrap());
    let mut ask = async |path: &str, token: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = routes.call(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let mut asked = 0;
    let refusal = loop {
        match ask("/health", None).await {
            (200, _) => asked += 1,
            (status, body) => break (status, body),
        }
    };
    assert_eq!((asked, refusal.0), (200, 429));
    assert!(refusal.1.contains("without a valid token; send one"), "{}", refusal.1);
    assert_eq!(ask("/health", Some("a-token-of-another-server")).await, refusal);
    assert_eq!(ask("/health", Some(TOKEN)).await.0, 200, "that helps");
    let (_, metrics) = ask("/metrics", Some(TOKEN)).await;
    // The doctor takes the first one for a limit that is too low.
    for line in
        [r#"{reason="too_many_requests"} 0"#, r#"{reason="too_many_requests_without_token"} 2"#]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn too_many_watchers_are_refused() {
    let (server, _) = memory(with(|limits| limits.watchers = 2)).await;
    let mut watchers = Vec::new();
    for _ in 0..2 {
        let mut watcher = raw(&server, EVENTS).await;
        assert!(read_until(&mut watcher, "]}\n\n").await.starts_with("HTTP/1.1 200"));
        watchers.push(watcher);
    }
    assert_eq!(ask(http().get(url(&server, "/v1/gosd/events"))).await.status, 429);
    drop(watchers.pop());
    // The server needs a moment to notice.
    let comes_in = async {
        while !read_until(&mut raw(&server, EVENTS).await, "\r\n\r\n").await.contains(" 200 ") {}
    };
    timeout(LATE, comes_in).await.expect("a place that was left is free again");
}

/// The server keeps the names while the watchers are there.
#[tokio::test]
async fn watchers_that_name_too_many_services_are_refused() {
    let (server, _) = memory(with(|limits| limits.watchers_per_client = 10)).await;
    let watch = async |stream: usize| {
        let names = (0..512).map(|n| format!("a-service-of-{stream}-{n}")).collect::<Vec<_>>();
        let path = format!("/v1/gosd/events?service={}", names.join(","));
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let mut watcher = raw(&server, request.as_bytes()).await;
        let answer = read_until(&mut watcher, "\r\n\r\n").await;
        answer.contains(" 200 ").then_some(watcher).ok_or(answer)
    };
    let mut watchers = Vec::new();
    let refusal = loop {
        match watch(watchers.len()).await {
            Ok(watcher) => watchers.push(watcher),
            Err(refusal) => break refusal,
        }
    };
    assert!(refusal.contains(" 429 ") && watchers.len() < 9, "{} {refusal}", watchers.len());
    // There is room for one that names none.
    let mut other = raw(&server, EVENTS).await;
    assert!(read_until(&mut other, "]}\n\n").await.contains(" 200 "));
    drop(watchers.pop());
    // The server needs a moment to notice.
    let comes_in = async { while watch(watchers.len()).await.is_err() {} };
    timeout(LATE, comes_in).await.expect("the room that was left is free again");
}

#[tokio::test]
async fn too_many_instances_are_refused() {
    let (server, registry) = memory(with(|limits| limits.instances = 1)).await;
    let driver = open(&url(&server, "")).await;
    let (first, second) = (instance("mail"), instance("mail"));
    driver.register(&first, LEASE).await.unwrap();
    let mut watch = driver.watch().unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Reset(vec![first.clone()]));
    let error = driver.register(&second, LEASE).await.unwrap_err();
    assert!(error.to_string().contains("507") && error.is_retryable(), "{error}");
    // An instance that is registered may renew.
    driver.register(&first, LEASE).await.unwrap();
    assert_eq!(registry.list().await.unwrap(), std::slice::from_ref(&first));
    driver.deregister(first.id()).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Remove(first.id().clone()));
    driver.register(&second, LEASE).await.unwrap();
}

#[tokio::test]
async fn too_many_concurrent_registrations_are_refused() {
    let faulty = Faulty::new(Arc::new(Memory::new()));
    faulty.on(Operation::Watch, Fault::Hang);
    let settings = with(|limits| limits.instances = 5);
    let settings = settings.namespace("gosd", Arc::new(faulty.clone())).unwrap();
    let server = start(settings).await;
    let driver = open(&url(&server, "")).await;
    let all: Vec<_> = (0..20).map(|_| instance("mail")).collect();
    let early = driver.register(&all[0], LEASE).await.unwrap_err();
    assert!(early.to_string().contains("503"), "nobody knows yet how many there are: {early}");
    faulty.clear_all();
    assert_eq!(ask(http().get(url(&server, "/health"))).await.status, 200);
    // From now on the server learns of registrations only from its own requests.
    faulty.on(Operation::Watch, Fault::Hang);
    let registered = join_all(all.iter().map(|one| driver.register(one, LEASE))).await;
    assert_eq!(registered.iter().filter(|result| result.is_ok()).count(), 5);
    assert_eq!(faulty.list().await.unwrap().len(), 5);
}

#[tokio::test]
async fn too_long_a_lease_is_refused() {
    let (server, _) = memory(with(|limits| limits.lease = Duration::from_secs(60))).await;
    let request = http().put(url(&server, "/v1/gosd/instances/mail-1")).json(&registration());
    assert_eq!(ask(request).await.status, 422);
}

#[tokio::test]
async fn too_many_connections_wait() {
    let settings = with(|limits| {
        limits.connections = 1;
        limits.connections_per_client = 2;
    });
    let (server, _) = memory(settings).await;
    let mut first = raw(&server, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(read_until(&mut first, "ok").await.contains(" 200 "));
    let mut second = raw(&server, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let early = timeout(Duration::from_millis(300), second.read_u8()).await;
    assert!(early.is_err(), "the second is served beside the first");
    drop(first);
    assert!(read_until(&mut second, "ok").await.contains(" 200 "));
}

#[tokio::test]
async fn a_client_that_never_sends_is_cut_off() {
    let patience = Duration::from_millis(300);
    let (server, _) = memory(with(|limits| limits.patience = patience)).await;
    for beginning in [b"".as_slice(), b"GET /health HT", b"GET /health HTTP/1.1\r\nhost: lo"] {
        let mut client = raw(&server, beginning).await;
        // `read_until` waits for the end of the connection.
        let answer = read_until(&mut client, "never").await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    // A connection that has had a request is closed as well.
    let mut idle = raw(&server, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(read_until(&mut idle, "never").await.contains(" 200 "));
    let half_a_body = "PUT /v1/gosd/instances/mail-1 HTTP/1.1\r\nhost: localhost\r\n\
                       content-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    let mut slow = raw(&server, half_a_body.as_bytes()).await;
    assert!(read_until(&mut slow, "never").await.contains(" 408 "));
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_and_comes_back() {
    let patience = Duration::from_millis(500);
    let settings = with(|limits| {
        limits.patience = patience;
        limits.burst = 100_000;
    });
    let (server, registry) = memory(settings).await;
    let mut slow = raw(&server, EVENTS).await;
    assert!(read_until(&mut slow, "]}\n\n").await.contains("event: reset\n"));
    // More than all buffers between the two hold, so that the server waits for the reader.
    let large = "x".repeat(8_000);
    let mut changing = instance("mail");
    for n in 0..4_000 {
        changing = changing.with_metadata("k", &format!("{n}{}", &large[..7_990]));
        registry.register(&changing, LEASE).await.unwrap();
        if n % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    tokio::time::sleep(patience * 3).await;
    let mut read = Vec::new();
    // The rest of the data under way, and then the end.
    let _ = timeout(LATE, slow.read_to_end(&mut read)).await.expect("it is cut off");
    assert!(read.len() < 30_000_000, "{} bytes", read.len());
    let mut again = raw(&server, EVENTS).await;
    let everything = read_until(&mut again, "]}\n\n").await;
    assert!(everything.contains(&changing.to_json()));
}
