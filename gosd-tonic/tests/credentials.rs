//! The user and the password in the URL of an instance: who receives them, and that nobody else sees them.

use std::sync::{Arc, Mutex};

use gosd::{Client, Memory, Settings};
use gosd_testservers::{collect_spans, free_port, spans_to};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// A server that keeps what each call has as `authorization`.
struct Mail {
    port: u16,
    received: Arc<Mutex<Vec<Vec<String>>>>,
    _server: JoinSet<()>,
}

impl Mail {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let health = HealthService::from_health_reporter(HealthReporter::new());
        let health = HealthServer::with_interceptor(health, move |request: Request<()>| {
            let all = request.metadata().get_all("authorization").iter();
            kept.lock().unwrap().push(all.map(|it| it.to_str().unwrap().to_owned()).collect());
            Ok(request)
        });
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(health).serve_with_incoming(incoming).await.unwrap();
        });
        Self { port, received, _server: server }
    }

    /// Its URL with a user and a password, as in `svc:sesame@`.
    fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}127.0.0.1:{}", self.port)
    }

    fn received(&self) -> Vec<Vec<String>> {
        self.received.lock().unwrap().clone()
    }
}

async fn knowing(urls: impl IntoIterator<Item = String>) -> Client {
    let settings = Settings::default().eject_after(0);
    let gosd = Client::builder(Arc::new(Memory::new())).settings(settings).start().await.unwrap();
    for url in urls {
        gosd.add_local("mail", &url).unwrap();
    }
    gosd
}

async fn check(channel: gosd_tonic::Channel, own: Option<&'static str>) -> Result<(), Status> {
    let mut request = Request::new(HealthCheckRequest { service: String::new() });
    if let Some(own) = own {
        request.metadata_mut().insert("authorization", own.parse().unwrap());
    }
    HealthClient::new(channel).check(request).await.map(drop)
}

#[tokio::test]
async fn each_instance_receives_its_own_and_no_other() {
    let servers = [Mail::start().await, Mail::start().await, Mail::start().await];
    let urls = servers.iter().zip(["svc:sesame@", "a%40b:p%3Aq@", ""]);
    // The dead instance fails each time, and its password must not go to the one that is tried next.
    let dead = format!("http://dead:secret@127.0.0.1:{}", free_port());
    let gosd = knowing(urls.map(|(server, it)| server.url(it)).chain([dead])).await;
    let channel = gosd_tonic::channel(&gosd, "mail");
    for _ in 0..8 {
        check(channel.clone(), None).await.unwrap();
    }
    // `svc:sesame`, `a@b:p:q`, and nothing.
    let expected = [&["Basic c3ZjOnNlc2FtZQ=="][..], &["Basic YUBiOnA6cQ=="], &[]];
    for (server, expected) in servers.iter().zip(expected) {
        let received = server.received();
        assert!(received.len() >= 2 && received.iter().all(|it| it == expected), "{received:?}");
    }
}

#[tokio::test]
async fn that_of_the_call_comes_first() {
    let server = Mail::start().await;
    let gosd = knowing([server.url("svc:sesame@")]).await;
    check(gosd_tonic::channel(&gosd, "mail"), Some("Bearer mine")).await.unwrap();
    assert_eq!(server.received(), [["Bearer mine"]]);
}

#[tokio::test]
async fn no_status_no_span_and_no_endpoint_shows_them() {
    collect_spans();
    let port = free_port();
    let gosd = knowing([format!("http://svc:sesame@127.0.0.1:{port}")]).await;
    let shown = Arc::new(Mutex::new(String::new()));
    let show = Arc::clone(&shown);
    let channel = gosd_tonic::channel(&gosd, "mail").endpoint(move |endpoint| {
        *show.lock().unwrap() = format!("{} {endpoint:?}", endpoint.uri());
        endpoint
    });
    let status = check(channel, None).await.unwrap_err();
    let said = format!("{} {status} {status:?}", shown.lock().unwrap());
    assert!(said.contains("127.0.0.1") && !said.contains("sesame"), "{said}");
    let spans = spans_to(port);
    assert!(spans.len() == 1 && !format!("{spans:?}").contains("sesame"), "{spans:?}");
}
