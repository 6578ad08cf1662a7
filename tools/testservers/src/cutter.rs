//! Something between a client and a server that closes connections because of what the client sends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A port in front of a server on the loopback interface, which closes every connection on which the client
/// sends a certain text.
#[derive(Debug)]
pub struct Cutter {
    port: u16,
    accepted: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Cutter {
    /// Starts one that closes a connection so long after the text. Without any delay, the text does not reach
    /// the server.
    pub async fn at(text: &'static str, delay: Duration, server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let accepted = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&accepted);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    // Either side may end the connection at any time.
                    let _ = pass_on(client, server, text.as_bytes(), delay).await;
                });
            }
        });
        Self { port, accepted, _task: task }
    }

    /// The port to connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn pass_on(
    mut client: TcpStream,
    server: u16,
    text: &[u8],
    delay: Duration,
) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let forth = async {
        let mut said = Vec::new();
        loop {
            let begin = said.len();
            if from_client.read_buf(&mut said).await? == 0 {
                return Ok(());
            }
            let has_it = said.windows(text.len()).any(|part| part == text);
            if has_it && delay.is_zero() {
                return Ok(());
            }
            to_server.write_all(&said[begin..]).await?;
            if has_it {
                sleep(delay).await;
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = forth => ended,
        ended = copy(&mut from_server, &mut to_client) => ended.map(drop),
    }
}
