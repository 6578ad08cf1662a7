//! Servers, requests and instances that several tests need.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance, Memory};
use gosd_server::{Server, Settings, serve};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// Longer than anything in these tests takes on a busy machine.
pub(crate) const LATE: Duration = Duration::from_secs(30);

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good name and URL")
}

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_http::open(url).await.expect("the URL is good")
}

/// Starts a server on a free port.
pub(crate) async fn start(settings: Settings) -> Server {
    serve("127.0.0.1:0", settings).await.expect("a port is free")
}

/// Starts a server with one registry in memory, and returns both.
pub(crate) async fn memory(settings: Settings) -> (Server, Memory) {
    let memory = Memory::new();
    let settings = settings.namespace("gosd", Arc::new(memory.clone())).expect("a good name");
    (start(settings).await, memory)
}

/// An answer of the API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Sends a request. An error has to be a problem document.
pub(crate) async fn ask(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = match text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}")),
    };
    if status >= 400 {
        assert_eq!(headers["content-type"], "application/problem+json", "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{body}");
    }
    Answer { status, headers, body }
}

pub(crate) fn http() -> Client {
    // These tests use cleartext on purpose, and check redirects themselves.
    Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client")
}

pub(crate) fn url(server: &Server, path: &str) -> String {
    format!("http://{}{path}", server.address())
}

/// A registration of `mail-1`, in which a test replaces values.
pub(crate) fn registration() -> Value {
    serde_json::json!({
        "instance": {"id": "mail-1", "service": "mail", "url": "http://10.0.0.7:25"},
        "lease_ms": 600_000,
    })
}

/// Sends bytes on a new connection.
pub(crate) async fn raw(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
    stream.write_all(bytes).await.expect("it takes them");
    stream
}

/// Reads until a text has come or the connection ends, and returns all that came.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&all).contains(text) {
            match stream.read_buf(&mut all).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    timeout(LATE, read).await.expect("an end in time");
    String::from_utf8_lossy(&all).into_owned()
}
