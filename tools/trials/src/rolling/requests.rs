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
    let answer = exchange(&mut connection, question.as_bytes()).await;
    match answer {
        Ok(answer) if answer.starts_with(GOOD.0) && answer.ends_with(GOOD.1) => {
            // The server may announce that it closes the connection after this answer.
            let closes = answer.windows(17).any(|it| it.eq_ignore_ascii_case(b"connection: close"));
            if let Some(pool) = pool.filter(|_| !closes) {
                put(pool, address, connection);
            }
            Ok(())
        }
        // No byte of an answer came, so the server has not begun to serve the request.
        Ok(nothing) if was_kept && nothing.is_empty() => Err(Failure::Closed),
        Err(_) if was_kept => Err(Failure::Closed),
        _ => Err(Failure::Failed),
    }
}

/// Sends a request, and reads its answer or the part of it that arrives.
async fn exchange(connection: &mut TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    connection.write_all(question).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(GOOD.1) && connection.read_buf(&mut answer).await? > 0 {}
    Ok(answer)
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
