//! A client without retries, which opens a connection for each request or keeps its connections open.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gosd_core::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::SERVICE;

/// The time between two requests: 200 a second.
const PACE: Duration = Duration::from_millis(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The beginning and the end of a good answer.
const GOOD: (&[u8], &[u8]) = (b"HTTP/1.1 200 ", b"served");

/// The results of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub answered: u32,
    /// Requests that failed because the server closed a connection that had been used before at the moment
    /// when the request was sent. A client can only avoid that by sending the request again.
    pub closed: u32,
    pub failed: u32,
}

/// Why a request got no answer.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The server had closed a kept connection before it read the request.
    Closed,
    /// Anything else.
    Failed,
}

/// Requests that run until they are stopped.
pub(super) struct Requests {
    stop: watch::Sender<bool>,
    alone: JoinHandle<Tally>,
    kept: JoinHandle<Tally>,
}

impl Requests {
    pub(super) fn begin(client: &Client) -> Self {
        let (stop, stopping) = watch::channel(false);
        let alone = tokio::spawn(run(client.clone(), None, stopping.clone()));
        let kept = tokio::spawn(run(client.clone(), Some(Arc::default()), stopping));
        Self { stop, alone, kept }
    }

    /// Stops the requests, and waits for those under way.
    pub(super) async fn end(self) -> (Tally, Tally) {
        self.stop.send_replace(true);
        let what = "requests do not panic";
        (self.alone.await.expect(what), self.kept.await.expect(what))
    }
}

/// Idle connections by address.
type Pool = Arc<Mutex<HashMap<String, Vec<TcpStream>>>>;

async fn run(client: Client, pool: Option<Pool>, mut stopping: watch::Receiver<bool>) -> Tally {
    let mut service = client.service(SERVICE);
    let (mut tally, mut running) = (Tally::default(), JoinSet::new());
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(done) = running.join_next() => tally.add(&done.expect("a request does not panic")),
            _ = ticks.tick() => match service.pick() {
                None => tally.failed += 1,
                Some(instance) => {
                    let address = instance.url().trim_start_matches("http://").to_owned();
                    let pool = pool.clone();
                    running.spawn(async move {
                        let answer = timeout(ANSWER, request(&address, pool.as_ref())).await;
                        answer.unwrap_or(Err(Failure::Failed))
                    });
                }
            },
        }
    }
    while let Some(done) = running.join_next().await {
        tally.add(&done.expect("a request does not panic"));
    }
    tally
}

impl Tally {
    fn add(&mut self, done: &Result<(), Failure>) {
        match done {
            Ok(()) => self.answered += 1,
            Err(Failure::Closed) => self.closed += 1,
            Err(Failure::Failed) => self.failed += 1,
        }
    }
}

async fn request(address: &str, pool: Option<&Pool>) -> Result<(), Failure> {
    let kept = pool.and_then(|pool| take(pool, address));
    let was_kept = kept.is_some();
    let failed = |_: io::Error| Failure::Failed;
    let mut connection = match kept {
        Some(connection) => connection,
        None => TcpStream::connect(address).await.map_err(failed)?,
    };
    let ends = if pool.is_some() { "keep-alive" } else { "close" };
    let question = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: {ends}\r\n\r\n");
    let (answer, end) = exchange(&mut connection, question.as_bytes()).await;
    match end {
        Ok(()) if answer.starts_with(GOOD.0) && answer.ends_with(GOOD.1) => {
            // The server may announce that it closes the connection after this answer.
            let closes = answer.windows(17).any(|it| it.eq_ignore_ascii_case(b"connection: close"));
            if let Some(pool) = pool.filter(|_| !closes) {
                put(pool, address, connection);
            }
            Ok(())
        }
        // No byte of an answer came, so the server has not begun to serve the request.
        _ if was_kept && answer.is_empty() => Err(Failure::Closed),
        _ => Err(Failure::Failed),
    }
}

/// Sends a request, and reads its answer or the part of it that arrives, even if the connection breaks then.
async fn exchange(connection: &mut TcpStream, question: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut answer = Vec::new();
    let end = async {
        connection.write_all(question).await?;
        while !answer.ends_with(GOOD.1) && connection.read_buf(&mut answer).await? > 0 {}
        Ok(())
    };
    let end = end.await;
    (answer, end)
}

/// A connection that the server has not closed, as far as this end knows.
fn take(pool: &Pool, address: &str) -> Option<TcpStream> {
    let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
    let connections = idle.get_mut(address)?;
    std::iter::from_fn(|| connections.pop()).find(|connection| {
        let nothing_yet = connection.try_read(&mut [0]);
        nothing_yet.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    })
}

fn put(pool: &Pool, address: &str, connection: TcpStream) {
    let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
    idle.entry(address.to_owned()).or_default().push(connection);
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Sends two requests over one connection. The server answers the first, and resets the connection after
    /// so much of the second answer.
    async fn second_of_two(part: &'static [u8]) -> Result<(), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has one").to_string();
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await?;
            let mut question = Vec::new();
            while !question.ends_with(b"\r\n\r\n") {
                connection.read_buf(&mut question).await?;
            }
            connection.write_all(b"HTTP/1.1 200 OK\r\n\r\nserved").await?;
            // The system resets a connection that is closed before all that came is read.
            connection.read_u8().await?;
            connection.write_all(part).await
        });
        let pool = Pool::default();
        assert_eq!(request(&address, Some(&pool)).await, Ok(()));
        let second = request(&address, Some(&pool)).await;
        server.await.expect("it does not panic").expect("the client connects");
        second
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_a_failure_and_no_closed_connection() {
        assert_eq!(second_of_two(b"").await, Err(Failure::Closed));
        assert_eq!(second_of_two(b"HTTP/1.1 200 OK\r\n").await, Err(Failure::Failed));
    }
}
