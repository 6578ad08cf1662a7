//! Hostile or broken clients: they cannot use up what the server has for others.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Client, Driver, ErrorKind, Memory};
use gosd_server::{Limits, Settings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{
    LATE, LEASE, ask, http, instance, memory, open, raw, read_until, registration, start, url,
};

const TOKEN: &str = "sesame-sesame-sesame";
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn with(set: impl FnOnce(&mut Limits)) -> Settings {
    let mut limits = Limits::default();
    set(&mut limits);
    Settings::new().limits(limits)
}

#[tokio::test]
async fn clients_without_a_token_use_up_nothing_of_clients_with_one() {
    let settings = with(|limits| {
        limits.burst = 50;
        limits.requests_per_second = 1;
    });
    let (server, _) = memory(settings.token(TOKEN).unwrap()).await;
    let list = url(&server, "/v1/gosd/instances");
    let client = http();
    let (mut refused, mut closes) = (0, false);
    while !closes && refused < 5_000 {
        let answer = ask(client.get(&list).bearer_auth("guess")).await;
        assert_eq!(answer.status, 401, "a bad token is never called too many requests");
        closes = answer.headers.get("connection").is_some_and(|value| value == "close");
        refused += 1;
    }
    assert!(closes && refused > 50, "the connection is closed after {refused} requests: {closes}");
    // From now on each guess costs a connection. Where the machine was slow, there may be one more without.
    let guess = "GET /v1/gosd/instances HTTP/1.1\r\nhost: h\r\nauthorization: Bearer g\r\n";
    let two = format!("{guess}\r\n{guess}connection: close\r\n\r\n");
    let mut ended = String::new();
    for _ in 0..20 {
        ended = read_until(&mut raw(&server, two.as_bytes()).await, "never").await;
        if ended.matches("HTTP/1.1").count() == 1 {
            break;
        }
    }
    assert!(ended.contains("HTTP/1.1 401 ") && ended.matches("HTTP/1.1").count() == 1, "{ended}");
    let wrong = open(&format!("http://:guess@{}", server.address())).await;
    let denied = Client::builder(wrong).register("mail", "http://10.0.0.7:25").start().await;
    assert_eq!(denied.err().map(|error| error.kind()), Some(ErrorKind::Denied));
    for _ in 0..40 {
        assert_eq!(ask(client.get(&list).bearer_auth(TOKEN)).await.status, 200);
    }
    assert_eq!(ask(client.get(url(&server, "/health"))).await.status, 200);
}

async fn answers(connection: &mut TcpStream) -> bool {
    connection.write_all(HEALTH).await.expect("it is open");
    read_until(connection, "\"ok\"}").await.contains(" 200 ")
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let settings = with(|limits| {
        limits.connections = 20;
        limits.connections_per_client = 10;
    });
    let (server, _) = memory(settings).await;
    let mut early = raw(&server, b"").await;
    assert!(answers(&mut early).await);
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(raw(&server, b"").await);
    }
    assert!(answers(&mut early).await, "who is known stays");
    assert!(answers(&mut raw(&server, b"").await).await, "who is new comes in");
    for connection in &mut silent[..39] {
        assert_eq!(read_until(connection, "never").await, "", "the oldest have gone");
    }
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_soon() {
    let (server, _) =
        memory(with(|limits| limits.first_request = Duration::from_millis(200))).await;
    for beginning in [b"".as_slice(), b"GET /health HT"] {
        let mut silent = raw(&server, beginning).await;
        assert_eq!(read_until(&mut silent, "never").await, "");
    }
}

#[tokio::test]
async fn reading_creates_no_namespace() {
    let registry = Memory::new();
    let settings = with(|limits| limits.namespaces = 4);
    let made = registry.clone();
    let server = start(settings.namespaces(move |_| Some(Arc::new(made.clone())))).await;
    for n in 0..50 {
        let list = http().get(url(&server, &format!("/v1/x{n}/instances")));
        assert_eq!(ask(list).await.status, 200, "{n}");
    }
    let register = |namespace: &str, id: &str| {
        let mut body = registration();
        body["instance"]["id"] = id.into();
        http().put(url(&server, &format!("/v1/{namespace}/instances/{id}"))).json(&body)
    };
    let mut bad = registration();
    bad["lease_ms"] = 0.into();
    for n in 0..10 {
        let register = http().put(url(&server, &format!("/v1/y{n}/instances/mail-1"))).json(&bad);
        assert_eq!(ask(register).await.status, 422, "{n}");
    }
    for n in 0..4 {
        assert_eq!(ask(register(&format!("z{n}"), "mail-1")).await.status, 204, "{n}");
    }
    assert_eq!(ask(register("z4", "mail-1")).await.status, 507);
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_page_of_another_origin_is_not_let_in() {
    let (server, _) = memory(Settings::new()).await;
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let list = http().get(url(&server, "/v1/gosd/instances")).header(name, value);
        assert_eq!(ask(list).await.status, 403, "{name}");
    }
}

#[tokio::test]
async fn a_list_that_nobody_reads_ends_and_one_that_is_read_is_whole() {
    let (server, registry) = memory(with(|limits| limits.patience = Duration::from_secs(4))).await;
    let large = "x".repeat(8_000);
    for _ in 0..1_000 {
        registry.register(&instance("mail").with_metadata("k", &large), LEASE).await.unwrap();
    }
    let request = b"GET /v1/gosd/instances HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut unread = raw(&server, request).await;
    let whole = async {
        loop {
            let list = ask(http().get(url(&server, "/v1/gosd/instances"))).await;
            // A busy machine may need longer to list this many instances than a call of a driver may take.
            if !matches!(list.status, 503 | 504) {
                assert_eq!(list.status, 200, "{}", list.body);
                break list;
            }
        }
    };
    let list = timeout(LATE, whole).await.unwrap();
    assert_eq!(list.body["instances"].as_array().unwrap().len(), 1_000);
    assert!(list.headers["content-length"].to_str().unwrap().parse::<usize>().unwrap() > 8_000_000);
    tokio::time::sleep(Duration::from_secs(12)).await;
    let rest = timeout(LATE, read_until(&mut unread, "never")).await.unwrap();
    assert!(rest.len() < 8_000_000, "{} bytes", rest.len());
}
