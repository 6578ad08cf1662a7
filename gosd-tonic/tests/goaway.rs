//! A server that stops in good order: it takes no calls any more, while a stream that is open goes on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gosd::{Client, Memory, Settings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

const LATE: Duration = Duration::from_secs(60);

/// A server that counts its calls.
struct Mail {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
    reporter: HealthReporter,
    /// The server begins to stop when this is gone.
    running: Option<oneshot::Sender<()>>,
}

impl Mail {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let reporter = HealthReporter::new();
        let health = HealthService::from_health_reporter(reporter.clone());
        let health = HealthServer::with_interceptor(health, move |request: Request<()>| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(request)
        });
        let (running, stopped) = oneshot::channel();
        let server = Server::builder().add_service(health);
        tokio::spawn(server.serve_with_incoming_shutdown(
            TcpListenerStream::new(listener),
            async {
                drop(stopped.await);
            },
        ));
        Self { address, received, reporter, running: Some(running) }
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

/// What connections to a server go through, so that the test sees what the server says on them.
struct Front {
    address: SocketAddr,
    server: watch::Sender<SocketAddr>,
    goaways: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

impl Front {
    async fn of(mail: &Mail) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, to) = watch::channel(mail.address);
        let (goaway, goaways) = watch::channel(0);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = *to.borrow();
                let server = TcpStream::connect(server).await.unwrap();
                let ((mut asked, answers), (said, mut questions)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut asked, &mut questions).await });
                tokio::spawn(pass_frames_on(said, answers, goaway.clone()));
            }
        });
        Self { address, server, goaways, accepting }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes the server stop, and returns when the client knows.
    async fn stop(&mut self, mail: &mut Mail) {
        mail.running = None;
        // The second one is the server's answer to a ping behind the first, which the client has answered.
        let second = self.goaways.wait_for(|&goaways| goaways == 2);
        timeout(LATE, second).await.expect("a server says GOAWAY").unwrap();
    }

    /// Accepts no connections any more; those that there are go on.
    async fn close(&self) {
        self.accepting.abort();
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

/// Passes the frames of HTTP/2 on, and counts each GOAWAY.
async fn pass_frames_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    goaways: watch::Sender<usize>,
) -> io::Result<()> {
    const GOAWAY: u8 = 7;
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload).await?;
        to.write_all(&head).await?;
        to.write_all(&payload).await?;
        goaways.send_modify(|goaways| *goaways += usize::from(kind == GOAWAY));
    }
}

/// A client that does without an instance after a single failure.
async fn knowing(urls: [String; 2]) -> Client {
    let settings = Settings::default().eject_after(1).eject_for(Duration::from_secs(600));
    let gosd = Client::builder(Arc::new(Memory::new())).settings(settings).start().await.unwrap();
    for url in urls {
        gosd.add_local("mail", &url).unwrap();
    }
    gosd
}

async fn check(channel: &gosd_tonic::Channel) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel.clone()).check(request).await.map(drop)
}

/// Opens a stream, which stays open.
async fn watch(channel: &gosd_tonic::Channel) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: String::new() };
    let mut stream = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream
}

#[tokio::test]
async fn the_next_call_goes_to_another_instance() {
    let (mut leaving, other) = (Mail::start().await, Mail::start().await);
    let mut front = Front::of(&leaving).await;
    let gosd = knowing([front.url(), format!("http://{}", other.address)]).await;
    let channel = gosd_tonic::channel(&gosd, "mail");
    let mut streams = [watch(&channel).await, watch(&channel).await];
    assert_eq!((leaving.received(), other.received()), (1, 1));
    front.close().await;
    front.stop(&mut leaving).await;
    for _ in 0..2 {
        check(&channel).await.unwrap();
    }
    assert_eq!((leaving.received(), other.received()), (1, 3));
    // The streams go on, on the connection that takes no calls too.
    for mail in [&leaving, &other] {
        mail.reporter.set_service_status("", ServingStatus::NotServing).await;
    }
    for stream in &mut streams {
        let said = timeout(LATE, stream.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(said.status, 2);
    }
}

#[tokio::test]
async fn an_instance_that_is_back_has_not_failed() {
    let (mut leaving, other) = (Mail::start().await, Mail::start().await);
    let mut front = Front::of(&leaving).await;
    let gosd = knowing([front.url(), format!("http://{}", other.address)]).await;
    let channel = gosd_tonic::channel(&gosd, "mail");
    let _streams = [watch(&channel).await, watch(&channel).await];
    let back = Mail::start().await;
    front.server.send_replace(back.address);
    front.stop(&mut leaving).await;
    for _ in 0..2 {
        check(&channel).await.unwrap();
    }
    assert_eq!((leaving.received(), back.received(), other.received()), (1, 1, 2));
    assert!(gosd.ejected().is_empty());
}
