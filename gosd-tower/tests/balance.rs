//! The layer over hyper's client, with real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gosd_core::{Client, ErrorKind, Failure, Memory, Settings};
use gosd_testservers::{collect_spans, free_port, spans_to};
use gosd_tower::BalanceLayer;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};

type Body = Full<Bytes>;
type Error = Box<dyn std::error::Error + Send + Sync>;

/// A server that counts requests. It answers with a status, or without one closes the connection.
struct Server {
    url: String,
    received: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl Server {
    async fn start(status: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        let received = Arc::new(AtomicUsize::new(0));
        let (count, mut connections) = (Arc::clone(&received), JoinSet::new());
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, status, Arc::clone(&count)));
            }
        });
        Self { url, received, _connections: connections }
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

async fn serve(socket: TcpStream, status: Option<u16>, received: Arc<AtomicUsize>) {
    let mut socket = BufReader::new(socket);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if socket.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        assert!(head.contains(" /api/7?x=1 HTTP/1.1"), "{head}");
        let length = head
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        socket.read_exact(&mut vec![0; length]).await.unwrap();
        received.fetch_add(1, Ordering::SeqCst);
        let Some(status) = status else { return };
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
    }
}

async fn knowing(urls: impl IntoIterator<Item = String>) -> Client {
    let settings = Settings::default().eject_after(0).try_find_service_amount(0);
    let gosd = Client::builder(Arc::new(Memory::new())).settings(settings).start().await.unwrap();
    for url in urls {
        gosd.add_local("orders", &url).unwrap();
    }
    gosd
}

fn nobody() -> String {
    format!("http://127.0.0.1:{}/api", free_port())
}

fn http(
    gosd: &Client,
    copies: bool,
) -> impl Service<Request<Body>, Response = Response<Incoming>, Error = Error, Future: Send> + Clone
{
    let copy = move |body: &Body| copies.then(|| body.clone());
    let failure = |error: &legacy::Error| match error.is_connect() {
        true => Some(Failure::Unsent),
        false => Some(Failure::Unanswered),
    };
    let client: legacy::Client<HttpConnector, Body> =
        legacy::Client::builder(TokioExecutor::new()).build_http();
    BalanceLayer::new(gosd.clone(), copy, failure).layer(client)
}

fn request(method: Method) -> Request<Body> {
    let request = Request::builder().method(method).uri("gosd://orders/7?x=1");
    request.body(Body::from("order")).unwrap()
}

#[tokio::test]
async fn requests_go_to_all_instances_in_turn() {
    let servers = [Server::start(Some(200)).await, Server::start(Some(200)).await];
    let gosd = knowing(servers.iter().map(|it| it.url.clone())).await;
    for _ in 0..100 {
        http(&gosd, true).oneshot(request(Method::GET)).await.unwrap();
    }
    assert_eq!(servers.each_ref().map(Server::received), [50; 2]);
}

#[tokio::test]
async fn a_request_that_was_not_sent_goes_on_and_one_that_was_may_not() {
    let live = Server::start(Some(201)).await;
    let gosd = knowing([nobody(), live.url.clone()]).await;
    for _ in 0..4 {
        let answer = http(&gosd, true).oneshot(request(Method::POST)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    assert_eq!(live.received(), 4);

    for (method, arrive) in [(Method::POST, 1), (Method::PUT, 2)] {
        let servers = [Server::start(None).await, Server::start(None).await];
        let gosd = knowing(servers.iter().map(|it| it.url.clone())).await;
        http(&gosd, true).oneshot(request(method.clone())).await.unwrap_err();
        assert_eq!(servers.iter().map(Server::received).sum::<usize>(), arrive, "{method}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_copied_is_sent_once() {
    let servers = [Server::start(None).await, Server::start(None).await];
    let gosd = knowing(servers.iter().map(|it| it.url.clone())).await;
    http(&gosd, false).oneshot(request(Method::PUT)).await.unwrap_err();
    assert_eq!(servers.iter().map(Server::received).sum::<usize>(), 1);
}

#[tokio::test]
async fn an_answer_is_not_swallowed() {
    let refusing = Server::start(Some(503)).await;
    let gosd = knowing([refusing.url.clone(), nobody()]).await;
    for _ in 0..4 {
        let answer = http(&gosd, true).oneshot(request(Method::GET)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(refusing.received(), 4);
}

#[tokio::test]
async fn an_error_of_the_lookup_says_what_it_is() {
    let gosd = knowing([]).await;
    let error = http(&gosd, true).oneshot(request(Method::GET)).await.unwrap_err();
    assert_eq!(error.downcast_ref::<gosd_core::Error>().unwrap().kind(), ErrorKind::NotFound);
    let other = Request::get("http://orders/7").body(Body::default()).unwrap();
    let error = http(&gosd, true).oneshot(other).await.unwrap_err();
    assert_eq!(error.downcast_ref::<gosd_core::Error>().unwrap().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn each_attempt_is_a_span() {
    collect_spans();
    let (dead, live) = (nobody(), Server::start(Some(404)).await);
    let gosd = knowing([dead.clone(), live.url.clone()]).await;
    let port = |url: &str| url.parse::<http::Uri>().unwrap().port_u16().unwrap();
    while spans_to(port(&dead)).is_empty() {
        http(&gosd, true).oneshot(request(Method::GET)).await.unwrap();
    }
    let (failed, answered) = (&spans_to(port(&dead))[0], spans_to(port(&live.url)).pop().unwrap());
    for (name, value) in [
        ("otel.kind", "client"),
        ("otel.name", "GET"),
        ("http.request.method", "GET"),
        ("server.address", "127.0.0.1"),
        ("url.scheme", "http"),
        ("gosd.service", "orders"),
        ("error.type", "connect"),
        ("otel.status_code", "ERROR"),
    ] {
        assert_eq!(failed.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(failed.get("http.request.resend_count"), None);
    assert_eq!(answered["http.request.resend_count"], "1");
    assert_eq!(answered["http.response.status_code"], "404");
    assert_eq!(answered["error.type"], "404");
}
