//! The layer over hyper's client, with real servers.

use std::sync::{Arc, Mutex};

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
type Heads = Arc<Mutex<Vec<String>>>;
type Error = Box<dyn std::error::Error + Send + Sync>;

/// A server that keeps the heads of requests. It answers with a status, or without one closes the connection.
struct Server {
    url: String,
    heads: Heads,
    _connections: JoinSet<()>,
}

impl Server {
    async fn start(status: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        let (heads, mut connections) = (Heads::default(), JoinSet::new());
        let kept = Arc::clone(&heads);
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, status, Arc::clone(&kept)));
            }
        });
        Self { url, heads, _connections: connections }
    }

    fn received(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// Its URL with a user and a password, as in `svc:sesame@`.
    fn url_with(&self, credentials: &str) -> String {
        self.url.replace("http://", &format!("http://{credentials}"))
    }

    /// The headers `Authorization` of each request.
    fn authorizations(&self) -> Vec<Vec<String>> {
        let heads = self.heads.lock().unwrap();
        let of = |head: &String| {
            head.lines()
                .filter_map(|it| it.strip_prefix("authorization: "))
                .map(Into::into)
                .collect()
        };
        heads.iter().map(of).collect()
    }
}

async fn serve(socket: TcpStream, status: Option<u16>, heads: Heads) {
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
        heads.lock().unwrap().push(head);
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
async fn a_request_goes_to_those_of_its_handle() {
    let servers = [Server::start(Some(200)).await, Server::start(Some(200)).await];
    let gosd = knowing(servers.iter().map(|it| it.url.clone())).await;
    let chosen = servers[1].url.clone();
    let handle = gosd.service_where("orders", move |it| it.url() == chosen).or_else_all();
    let request = || {
        let mut request = request(Method::GET);
        request.extensions_mut().insert(handle.clone());
        request
    };
    for received in [[0, 4], [4, 4]] {
        for _ in 0..4 {
            http(&gosd, true).oneshot(request()).await.unwrap();
        }
        assert_eq!(servers.each_ref().map(Server::received), received);
        // While none of them is there, to the others.
        let all = gosd.instances("orders");
        all.iter().filter(|it| it.url() == servers[1].url).for_each(|it| {
            assert!(gosd.remove_local(it.id()));
        });
    }
    let mut other = request();
    other.extensions_mut().insert(gosd.service("mail"));
    let error = http(&gosd, true).oneshot(other).await.unwrap_err();
    assert_eq!(error.downcast_ref::<gosd_core::Error>().unwrap().kind(), ErrorKind::Config);
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
    let is_number = |name| answered.is_number(name);
    assert!(is_number("http.response.status_code") && is_number("server.port"));
    assert!(!is_number("error.type"), "for other errors it is a word");
}

#[tokio::test]
async fn a_span_has_the_port_of_the_scheme_if_the_url_has_none() {
    collect_spans();
    for (scheme, port) in [("http", 80), ("https", 443)] {
        let gosd = knowing([format!("{scheme}://127.0.0.1/api")]).await;
        let sender = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, std::convert::Infallible>(Response::new(()))
        });
        let never = |_: &std::convert::Infallible| None;
        let layer = BalanceLayer::new(gosd, |body: &Body| Some(body.clone()), never);
        layer.layer(sender).oneshot(request(Method::GET)).await.unwrap();
        assert_eq!(spans_to(port).len(), 1, "{scheme}");
    }
}

#[tokio::test]
async fn each_instance_receives_its_own_password_and_no_other() {
    let ok = || Server::start(Some(200));
    let servers = [ok().await, ok().await, ok().await];
    let urls = servers.iter().zip(["svc:sesame@", "a%40b:p%3Aq@", ""]);
    // The dead instance fails each time, and its password must not go to the one that is tried next.
    let dead = nobody().replace("http://", "http://dead:secret@");
    let gosd = knowing(urls.map(|(server, it)| server.url_with(it)).chain([dead])).await;
    for _ in 0..8 {
        http(&gosd, true).oneshot(request(Method::POST)).await.unwrap();
    }
    // `svc:sesame`, `a@b:p:q`, and nothing.
    let expected = [&["Basic c3ZjOnNlc2FtZQ=="][..], &["Basic YUBiOnA6cQ=="], &[]];
    for (server, expected) in servers.iter().zip(expected) {
        let received = server.authorizations();
        assert!(received.len() >= 2 && received.iter().all(|it| it == expected), "{received:?}");
    }
}

#[tokio::test]
async fn a_password_of_the_request_comes_first() {
    let server = Server::start(Some(200)).await;
    let gosd = knowing([server.url_with("svc:sesame@")]).await;
    let mut own = request(Method::GET);
    own.headers_mut().insert("authorization", "Bearer mine".parse().unwrap());
    let mut in_uri = request(Method::GET);
    *in_uri.uri_mut() = "gosd://user:mine@orders/7?x=1".parse().unwrap();
    for request in [own, in_uri] {
        http(&gosd, true).oneshot(request).await.unwrap();
    }
    assert_eq!(server.authorizations(), [["Bearer mine"], ["Basic dXNlcjptaW5l"]]);
}

#[tokio::test]
async fn no_error_and_no_span_shows_a_password() {
    collect_spans();
    let port = free_port();
    let gosd = knowing([format!("http://svc:sesame@127.0.0.1:{port}/api")]).await;
    // It shows all that it is given.
    let sender = tower::service_fn(async |request: Request<Body>| {
        Err::<Response<Body>, _>(format!("{} {:?}", request.uri(), request.headers()))
    });
    let copy = |body: &Body| Some(body.clone());
    let layer = BalanceLayer::new(gosd, copy, |_: &String| Some(Failure::Unsent));
    let error = layer.layer(sender).oneshot(request(Method::GET)).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("http://127.0.0.1:{port}/api/7?x=1 ")), "{error}");
    assert!(error.contains("authorization") && !error.contains("Basic"), "{error}");
    let spans = spans_to(port);
    assert!(spans.len() == 1 && !format!("{spans:?}").contains("sesame"), "{spans:?}");
}
