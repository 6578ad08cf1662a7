//! Instances that are silent, or break off: for how long calls wait for them.

use std::net::{self, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gosd::{Client, Memory, Settings};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tonic::transport::{ClientTlsConfig, Server};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

const CALLS: usize = 50;
/// Far more than one attempt to connect takes, and far less than one for each call.
const BOUND: Duration = Duration::from_secs(30);

/// An instance that answers, counts its calls, and breaks its connections off when it is told to.
struct Live {
    url: String,
    received: Arc<AtomicUsize>,
    breaking: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl Live {
    fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (received, breaking) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let count = Arc::clone(&received);
        let health = HealthService::from_health_reporter(HealthReporter::new());
        let health = HealthServer::with_interceptor(health, move |request: Request<()>| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(request)
        });
        let ending = Arc::clone(&breaking);
        let incoming = TcpListenerStream::new(listener).map(move |socket| {
            let socket = socket?.into_std()?;
            let (copy, ending) = (socket.try_clone()?, Arc::clone(&ending));
            tokio::spawn(async move {
                ending.notified().await;
                copy.shutdown(Shutdown::Both).unwrap();
            });
            TcpStream::from_std(socket)
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            Server::builder().add_service(health).serve_with_incoming(incoming).await.unwrap();
        });
        Self { url, received, breaking, tasks }
    }

    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

/// A listener with a short queue.
fn listen() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Fills the queue of a listener where nobody accepts: from then on a SYN is dropped.
fn fill(address: SocketAddr) -> Vec<net::TcpStream> {
    // The kernel answers by itself, so it does at once or never.
    let connect = || net::TcpStream::connect_timeout(&address, Duration::from_millis(500));
    let held: Vec<_> = std::iter::from_fn(|| connect().ok()).take(100).collect();
    assert!(held.len() < 100, "the queue has no end");
    held
}

/// A host that accepts connections, counts them, and says nothing on them.
async fn mute() -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (accepted, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let count = Arc::clone(&accepted);
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok(socket) = listener.accept().await {
            held.push(socket);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, accepted, tasks)
}

async fn knowing<'a>(urls: impl IntoIterator<Item = &'a String>) -> Client {
    let settings = Settings::default().try_find_service_amount(0);
    let gosd = Client::builder(Arc::new(Memory::new())).settings(settings).start().await.unwrap();
    for url in urls {
        gosd.add_local("mail", url).unwrap();
    }
    gosd
}

async fn check(channel: gosd_tonic::Channel) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel).check(request).await.map(drop)
}

/// Makes many calls at the same time, and waits for their ends.
async fn check_all(channel: &gosd_tonic::Channel) {
    let calls: JoinSet<_> = (0..CALLS).map(|_| check(channel.clone())).collect();
    for called in timeout(BOUND, calls.join_all()).await.expect("calls wait one for another") {
        called.unwrap();
    }
}

#[tokio::test]
async fn calls_to_a_host_that_drops_packets_wait_together() {
    let ((_listener, address), live) = (listen(), Live::start().await);
    let _held = fill(address);
    let gosd = knowing([&format!("http://{address}"), &live.url]).await;
    check_all(&gosd_tonic::channel(&gosd, "mail")).await;
    assert_eq!(live.received(), CALLS);
}

#[tokio::test]
async fn a_handshake_of_tls_that_is_not_answered_is_bounded() {
    let ((mute, accepted, _held), live) = (mute().await, Live::start().await);
    let gosd = knowing([&mute, &live.url]).await;
    let tls = |endpoint: tonic::transport::Endpoint| {
        endpoint.tls_config(ClientTlsConfig::new().domain_name("mail")).unwrap()
    };
    let channel = gosd_tonic::channel(&gosd, "mail").endpoint(tls);
    assert_eq!(accepted.load(Ordering::SeqCst), 0, "nobody has called");
    // A call that is dropped leaves the attempt to those after it.
    while accepted.load(Ordering::SeqCst) == 0 {
        let call = check(channel.clone());
        drop(timeout(Duration::from_millis(1), call).await);
    }
    check_all(&channel).await;
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "all waited for one attempt");
}

#[tokio::test]
async fn an_instance_that_breaks_off_and_falls_silent_is_passed_over() {
    let (listener, address) = listen();
    // A copy, so that the queue stays when the server has ended.
    let queue = listener.into_std().unwrap();
    let listener = TcpListener::from_std(queue.try_clone().unwrap()).unwrap();
    let (mut dying, live) = (Live::on(listener), Live::start().await);
    let gosd = knowing([&dying.url, &live.url]).await;
    let channel = gosd_tonic::channel(&gosd, "mail");
    for _ in 0..2 {
        check(channel.clone()).await.unwrap();
    }
    assert_eq!(dying.received(), 1);
    // The connection stays for now, and nobody accepts another.
    dying.tasks.shutdown().await;
    let _held = fill(address);
    dying.breaking.notify_waiters();
    // At most the call that is sent before the end of the connection arrives.
    let mut failed = 0;
    for _ in 0..4 {
        failed += usize::from(timeout(BOUND, check(channel.clone())).await.unwrap().is_err());
    }
    assert!(failed <= 1, "{failed}");
    check_all(&channel).await;
    assert_eq!(dying.received(), 1);
    drop(queue);
}

#[tokio::test]
async fn an_instance_that_breaks_off_and_comes_back_is_connected_to_again() {
    let live = Live::start().await;
    let gosd = knowing([&live.url]).await;
    let channel = gosd_tonic::channel(&gosd, "mail");
    for _ in 0..5 {
        check(channel.clone()).await.unwrap();
        live.breaking.notify_waiters();
        // At most the call that is sent before the end of the connection arrives.
        if check(channel.clone()).await.is_err() {
            check(channel.clone()).await.unwrap();
        }
    }
    assert!(gosd.ejected().is_empty());
}

#[test]
fn a_runtime_that_ended_takes_its_connections_with_it() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    // The server and gosd's own work are on a runtime that stays.
    let staying = Runtime::new().unwrap();
    let (live, gosd) = staying.block_on(async {
        let live = Live::start().await;
        let gosd = knowing([&live.url]).await;
        (live, gosd)
    });
    let channel = gosd_tonic::channel(&gosd, "mail");
    for _ in 0..3 {
        runtime().block_on(check(channel.clone())).unwrap();
    }
    assert_eq!(live.received(), 3);
}
