//! A server that counts requests and answers exactly as a test asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// What a server does with a request, once all of it has arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// Answers that what was asked for is on this port.
    Redirect(u16),
    /// Closes the connection without an answer.
    Close,
    /// Keeps the connection open without an answer.
    Silence,
}

pub(crate) struct Server {
    pub(crate) port: u16,
    received: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, reply, Arc::clone(&count)));
            }
        });
        Self { port, received, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests have arrived.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn serve<S>(socket: S, reply: Reply, received: Arc<AtomicUsize>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut socket = BufReader::new(socket);
    while read_request(&mut socket).await.is_some() {
        received.fetch_add(1, Ordering::SeqCst);
        let status = match reply {
            Reply::Close => return,
            Reply::Silence => std::future::pending().await,
            Reply::Status(status) => format!("{status} Said"),
            Reply::Redirect(port) => format!("307 Said\r\nlocation: http://127.0.0.1:{port}/"),
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Reads one request to its end; `None` at the end of the connection.
async fn read_request(socket: &mut (impl AsyncBufReadExt + Unpin)) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if socket.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        let mut body = String::new();
        while !body.ends_with("0\r\n\r\n") {
            if socket.read_line(&mut body).await.ok()? == 0 {
                return None;
            }
        }
    } else if let Some((_, rest)) = head.split_once("content-length: ") {
        let length = rest.lines().next()?.parse().ok()?;
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
    }
    Some(())
}
