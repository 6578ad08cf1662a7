//! Calls to real servers: which server gets them, and what the caller receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gosd::{Client, Driver, Drivers, Instance, Memory, Settings};
use gosd_testservers::{Process, collect_spans, free_port, spans_to};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, StdError, http};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

const LATE: Duration = Duration::from_secs(60);

/// A server that counts its calls, and refuses them if the test asks for it.
struct Mail {
    url: String,
    received: Arc<AtomicUsize>,
    reporter: HealthReporter,
    task: JoinHandle<()>,
}

impl Mail {
    async fn start(refusal: Option<Code>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let reporter = HealthReporter::new();
        let health = HealthService::from_health_reporter(reporter.clone());
        let health = HealthServer::with_interceptor(health, move |request: Request<()>| {
            count.fetch_add(1, Ordering::SeqCst);
            refusal.map_or(Ok(request), |code| Err(Status::new(code, "told so")))
        });
        let server = Server::builder().add_service(health);
        let task = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { url, received, reporter, task }
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn knowing(settings: Settings, urls: impl IntoIterator<Item = String>) -> Client {
    let builder = Client::builder(Arc::new(Memory::new())).settings(settings);
    let gosd = builder.start().await.unwrap();
    for url in urls {
        gosd.add_local("mail", &url).unwrap();
    }
    gosd
}

fn nobody() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

async fn check<T>(channel: T) -> Result<(), Status>
where
    T: Service<http::Request<Body>, Response = http::Response<Body>, Error: Into<StdError>>,
{
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel).check(request).await.map(drop)
}

/// How many of 300 successive calls fail.
async fn failed<T>(channel: T) -> usize
where
    T: Service<http::Request<Body>, Response = http::Response<Body>, Error: Into<StdError>> + Clone,
{
    let mut failed = 0;
    for _ in 0..300 {
        failed += usize::from(check(channel.clone()).await.is_err());
    }
    failed
}

#[tokio::test]
async fn calls_go_to_all_instances_in_turn() {
    let servers = [Mail::start(None).await, Mail::start(None).await, Mail::start(None).await];
    let gosd = knowing(Settings::default(), servers.iter().map(|it| it.url.clone())).await;
    let channel = gosd_tonic::channel(&gosd, "mail");
    let mut tasks = JoinSet::new();
    for _ in 0..30 {
        let channel = channel.clone();
        tasks.spawn(async move {
            for _ in 0..100 {
                check(channel.clone()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(servers.each_ref().map(Mail::received), [1_000; 3]);
}

#[tokio::test]
async fn a_dead_instance_is_passed_over() {
    let servers = [Mail::start(None).await, Mail::start(None).await];
    let urls = || servers.iter().map(|it| it.url.clone()).chain([nobody()]);
    let gosd = knowing(Settings::default().eject_after(0), urls()).await;
    assert_eq!(failed(gosd_tonic::channel(&gosd, "mail")).await, 0);
    assert_eq!(servers.iter().map(Mail::received).sum::<usize>(), 300);

    // tonic's own balancer takes a dead endpoint for a ready one.
    let endpoints = urls().map(|url| Endpoint::from_shared(url).unwrap());
    assert!(failed(Channel::balance_list(endpoints)).await > 0);
}

#[tokio::test]
async fn without_an_instance_a_call_waits_and_then_fails_as_unavailable() {
    let gosd = knowing(Settings::default(), []).await;
    let server = Mail::start(None).await;
    let calling = check(gosd_tonic::channel(&gosd, "mail"));
    let appearing = async { gosd.add_local("mail", &server.url).unwrap() };
    let (called, _) = timeout(LATE, async { tokio::join!(calling, appearing) }).await.unwrap();
    called.unwrap();

    let settings = Settings::default().try_find_service_delay(Duration::from_millis(1));
    let gosd = knowing(settings, []).await;
    let status = check(gosd_tonic::channel(&gosd, "mail")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("no instance of \"mail\" is registered"), "{status}");

    // tonic's own balancer is still waiting.
    let none: [Endpoint; 0] = [];
    let waiting = check(Channel::balance_list(none.into_iter()));
    timeout(Duration::from_millis(200), waiting).await.unwrap_err();
}

#[tokio::test]
async fn an_error_of_the_service_is_an_answer_and_a_refusal_is_not_sent_again() {
    for code in [Code::Internal, Code::Unavailable] {
        let servers = [Mail::start(Some(code)).await, Mail::start(Some(code)).await];
        let gosd = knowing(Settings::default(), servers.iter().map(|it| it.url.clone())).await;
        for _ in 0..20 {
            let status = check(gosd_tonic::channel(&gosd, "mail")).await.unwrap_err();
            assert_eq!((status.code(), status.message()), (code, "told so"));
        }
        assert_eq!(servers.iter().map(Mail::received).sum::<usize>(), 20);
        assert!(gosd.ejected().is_empty());
    }
    // Of two servers the one that refuses is ejected.
    let servers = [Mail::start(Some(Code::Unavailable)).await, Mail::start(None).await];
    let settings = Settings::default().eject_for(Duration::from_secs(600));
    let gosd = knowing(settings, servers.iter().map(|it| it.url.clone())).await;
    let channel = gosd_tonic::channel(&gosd, "mail");
    assert_eq!(failed(channel).await, 3);
}

#[tokio::test]
async fn a_channel_of_one_zone_goes_elsewhere_only_while_nobody_is_there() {
    let (a, b, memory) = (Mail::start(None).await, Mail::start(None).await, Memory::new());
    let [there, here] = [(&a, "a"), (&b, "b")]
        .map(|(mail, zone)| Instance::new("mail", &mail.url).unwrap().with_metadata("zone", zone));
    for instance in [&there, &here] {
        memory.register(instance, 10 * LATE).await.unwrap();
    }
    let gosd = Client::builder(Arc::new(memory.clone())).start().await.unwrap();
    let near = gosd.service_where("mail", |it| it.metadata()["zone"] == "b").or_else_all();
    let channel = gosd_tonic::channel_of(&gosd, near);
    for received in [(0, 4), (4, 4)] {
        for _ in 0..4 {
            check(channel.clone()).await.unwrap();
        }
        assert_eq!((a.received(), b.received()), received);
        let mut changes = gosd.changes();
        memory.deregister(here.id()).await.unwrap();
        while gosd.instances("mail").len() > 1 {
            changes.next().await;
        }
    }
}

#[tokio::test]
async fn a_stream_outlives_the_goodbye_of_its_server() {
    let server = Mail::start(None).await;
    let gosd = knowing(Settings::default(), []).await;
    let id = gosd.add_local("mail", &server.url).unwrap();
    let channel = gosd_tonic::channel(&gosd, "mail");
    let mut mail = HealthClient::new(channel.clone());
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = mail.watch(request).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    assert!(gosd.remove_local(&id));
    // The connection is dropped with the first call to another instance at the latest.
    let other = Mail::start(None).await;
    gosd.add_local("mail", &other.url).unwrap();
    check(channel.clone()).await.unwrap();
    server.reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    let said = timeout(LATE, watched.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(said.status, 2);
}

#[tokio::test]
async fn each_attempt_is_a_span() {
    collect_spans();
    let (dead, live) = (nobody(), Mail::start(Some(Code::NotFound)).await);
    let gosd = knowing(Settings::default().eject_after(0), [dead.clone(), live.url.clone()]).await;
    let port = |url: &str| url.parse::<http::Uri>().unwrap().port_u16().unwrap();
    let channel = gosd_tonic::channel(&gosd, "mail");
    while spans_to(port(&dead)).is_empty() {
        check(channel.clone()).await.unwrap_err();
    }
    let (failed, answered) = (&spans_to(port(&dead))[0], spans_to(port(&live.url)).pop().unwrap());
    for (name, value) in [
        ("otel.kind", "client"),
        ("otel.name", "grpc.health.v1.Health/Check"),
        ("rpc.system", "grpc"),
        ("rpc.method", "grpc.health.v1.Health/Check"),
        ("server.address", "127.0.0.1"),
        ("gosd.service", "mail"),
        ("rpc.grpc.status_code", "14"),
        ("otel.status_code", "ERROR"),
    ] {
        assert_eq!(failed.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(failed.get("gosd.resend_count"), None);
    assert_eq!(answered["gosd.resend_count"], "1");
    assert_eq!(answered["rpc.grpc.status_code"], "5");
    assert!(answered.is_number("rpc.grpc.status_code") && answered.is_number("server.port"));
}

#[tokio::test]
async fn a_span_has_the_port_of_the_scheme_if_the_url_has_none() {
    collect_spans();
    for (scheme, port) in [("http", 80), ("https", 443)] {
        let gosd = knowing(Settings::default(), [format!("{scheme}://127.0.0.1")]).await;
        // Dropped before it connects to whoever is there.
        assert!(check(gosd_tonic::channel(&gosd, "mail")).now_or_never().is_none());
        assert_eq!(spans_to(port).len(), 1, "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_fails_only_the_calls_under_way() {
    const TASKS: usize = 12;
    // In s. The record of the server that is killed outlives the test, on a busy machine too.
    const LEASE: u64 = 600;
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("gosd.db").display());
    let driver = Drivers::compiled().open(&url).await.unwrap();
    let settings = Settings::default()
        .eject_for(Duration::from_secs(LEASE))
        .lease_ttl(Duration::from_secs(LEASE));
    let gosd = Client::builder(driver).settings(settings).start().await.unwrap();
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join("grpc_server");
    let mut servers = Vec::new();
    for _ in 0..3 {
        let environment = [("gosdDriver", url.clone()), ("gosdLeaseTTL", LEASE.to_string())];
        let none: [&str; 0] = [];
        let program = program.to_str().unwrap();
        let package = "gosd-tonic: cargo build --examples";
        servers
            .push(Process::start_in(&environment, program, package, none, "registered at").await);
    }
    gosd.refresh().await.unwrap();
    let channel = gosd_tonic::channel(&gosd, "mail");
    let (sent, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let is_time = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (channel, sent, failed) = (channel.clone(), Arc::clone(&sent), Arc::clone(&failed));
        let is_time = Arc::clone(&is_time);
        tasks.spawn(async move {
            while sent.fetch_add(1, Ordering::SeqCst) < 3_000 {
                if sent.load(Ordering::SeqCst) >= 500 {
                    is_time.notify_one();
                }
                failed.fetch_add(
                    usize::from(check(channel.clone()).await.is_err()),
                    Ordering::SeqCst,
                );
            }
        });
    }
    is_time.notified().await;
    servers.remove(0).kill().await;
    tasks.join_all().await;
    assert!(failed.load(Ordering::SeqCst) <= TASKS, "{failed:?}");
    assert_eq!(gosd.ejected().len(), 1);
    for _ in 0..300 {
        check(channel.clone()).await.unwrap();
    }
}
