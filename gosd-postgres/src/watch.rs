//! The watch: a snapshot, and then the log, which is read on each notification and once a second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream;
use gosd_core::{BoxStream, Error, ErrorKind, Event, Result};
use gosd_net::{Fault, Lifetimes, Rest};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::Error as PgError;
use tracing::warn;

use crate::connection::{Connection, fault};
use crate::driver::Postgres;
use crate::error;
use crate::statements::{self, Changes, Position};

/// How often a watcher looks without a notification: for expired leases, and for changes whose notification
/// was lost.
const LOOK: Duration = Duration::from_secs(1);
/// How long an answer may take.
const SLACK: Duration = Duration::from_secs(4);
/// How long an attempt to connect may take. It is long enough for the host that the attempt begins with, which may be
/// the one at which the attempt before it ended.
const CONNECT: Duration = Duration::from_secs(9);
/// A change of this age should have been notified.
const RUNG: Duration = Duration::from_millis(300);
/// How many successive changes without a notification cause a warning.
const SILENT: u32 = 3;

pub(crate) fn watch(driver: &Postgres) -> BoxStream<'_, Result<Event>> {
    let watch = Watch {
        driver,
        connection: None,
        host: 0,
        lifetimes: Lifetimes::new(),
        position: None,
        queue: VecDeque::new(),
        is_lost: false,
        look_at: Instant::now(),
        silent: 0,
        rest: Rest::over(),
    };
    Box::pin(stream::unfold(watch, async |mut watch| Some((watch.next().await, watch))))
}

/// A watch has its own connection, because the server notifies connections, and not drivers.
struct Watch<'a> {
    driver: &'a Postgres,
    connection: Option<Connection>,
    /// The host with which the next attempt to connect begins.
    host: usize,
    lifetimes: Lifetimes,
    /// The position in the log, which outlives the connection.
    position: Option<Position>,
    queue: VecDeque<Result<Event>>,
    /// Whether the watch has yielded an `Err`, and nothing since.
    is_lost: bool,
    /// The time of the next look.
    look_at: Instant,
    /// How many successive changes came without a notification.
    silent: u32,
    /// After changes, until the next ones are read.
    rest: Rest,
}

/// Why the watch cannot continue.
struct Failure {
    error: Error,
    /// Whether the connection was closed, which says little about the server.
    is_closed: bool,
    keeps_connection: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_closed: false, keeps_connection: false }
    }
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        let is_closed = !error::is_of_server(&error);
        Self { error: error::from_postgres(&error), is_closed, keeps_connection: false }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let keeps_connection = matches!(fault, Fault::Server(_));
        Self { error: fault.into_error(), is_closed: false, keeps_connection }
    }
}

impl Watch<'_> {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                if item.is_err() {
                    self.is_lost = true;
                    self.look_at = Instant::now();
                }
                return item;
            }
            if let Err(failure) = self.advance().await {
                self.driver.looks.lost_contact();
                if !failure.keeps_connection {
                    self.connection = None;
                }
                // Servers and poolers close connections now and then. If a new one can be made, no `Err` is
                // yielded.
                if !(failure.is_closed && self.lifetimes.may_forgive()) {
                    self.queue.push_back(Err(failure.error));
                }
            }
        }
    }

    async fn advance(&mut self) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return self.connect().await };
        let Some(position) = self.position.clone() else {
            let snapshot = within(SLACK, self.driver.snapshot(connection)).await??;
            self.position = Some(snapshot.1);
            self.lifetimes.answered();
            self.is_lost = false;
            self.look_at = Instant::now() + LOOK;
            self.queue.push_back(Ok(Event::Reset(snapshot.0)));
            return Ok(());
        };
        if Instant::now() < self.look_at {
            let (rest, bell) = (&self.rest, &mut connection.bell);
            let rung = async {
                rest.wait().await;
                bell.changed().await
            };
            tokio::select! {
                rung = rung => {
                    if rung.is_err() {
                        let error = Error::new(ErrorKind::Unavailable, "the connection has ended");
                        return Err(Failure { is_closed: true, ..error.into() });
                    }
                }
                () = sleep_until(self.look_at) => {}
            }
        }
        if self.look_at <= Instant::now() {
            self.look(position).await
        } else {
            self.read(position).await
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        self.lifetimes.begin();
        let given_up = Arc::clone(&self.driver.given_up);
        let opening = Connection::open(&self.driver.options, given_up, &mut self.host);
        let connection = within(CONNECT, opening).await??;
        let listen = connection.client.batch_execute("LISTEN gosd");
        within(SLACK, listen).await??;
        self.connection = Some(connection);
        self.look_at = Instant::now();
        Ok(())
    }

    /// Looks after the leases and reads the log, in one round trip.
    async fn look(&mut self, position: Position) -> Result<(), Failure> {
        let Some(connection) = &self.connection else { return Ok(()) };
        let (driver, client) = (self.driver, &connection.client);
        let question = driver.looks.question();
        let looking = async {
            match question {
                None => Ok(()),
                Some(question) => driver.look(connection, question).await,
            }
        };
        let reading = statements::changes(client, driver.namespace(), &position);
        let answers = async { tokio::join!(looking, reading) };
        let (looked, read) = within(SLACK, Box::pin(answers)).await?;
        // Goodbyes are yielded even while the server refuses writes.
        let outage = match looked {
            Ok(()) => None,
            Err(error) => {
                let refused = driver.looks.refused(error::from_postgres(&error));
                refused.err().map(|outage| Failure {
                    error: outage,
                    is_closed: !error::is_of_server(&error),
                    keeps_connection: matches!(fault(&error), Fault::Server(_)),
                })
            }
        };
        self.take_in(read)?;
        if let Some(outage) = outage {
            return Err(outage);
        }
        self.lifetimes.answered();
        if std::mem::take(&mut self.is_lost) {
            self.queue.push_front(Ok(Event::Resumed));
        }
        self.look_at = Instant::now() + LOOK;
        Ok(())
    }

    async fn read(&mut self, position: Position) -> Result<(), Failure> {
        let Some(connection) = &self.connection else { return Ok(()) };
        let reading = statements::changes(&connection.client, self.driver.namespace(), &position);
        let read = within(SLACK, reading).await?;
        self.take_in(read)
    }

    fn take_in(&mut self, read: Result<Option<Changes>, PgError>) -> Result<(), Failure> {
        let changes = match read {
            Ok(Some(changes)) => changes,
            Ok(None) => return Err(self.lose().into()),
            Err(error) if error::is_gone(&error) => return Err(self.lose().into()),
            Err(error) => return Err(error.into()),
        };
        self.note_silence(&changes);
        let is_partial = changes.is_partial;
        if !changes.events.is_empty() {
            self.rest.begin();
        }
        self.position = Some(changes.end);
        self.queue.extend(self.driver.readable(changes.events).into_iter().map(Ok));
        if is_partial {
            self.look_at = Instant::now();
        }
        Ok(())
    }

    /// Warns of a pooler in transaction mode, which accepts `LISTEN` and forwards no notifications.
    fn note_silence(&mut self, changes: &Changes) {
        let Some(connection) = &self.connection else { return };
        let Some(position) = &self.position else { return };
        if *connection.bell.borrow() >= changes.end.seq {
            self.silent = 0;
        } else if changes.end != *position && changes.age >= RUNG {
            self.silent += 1;
            if self.silent == SILENT && !self.driver.said_silent.swap(true, Ordering::Relaxed) {
                warn!(
                    namespace = self.driver.namespace(),
                    "the server's notifications do not come, so changes are seen once a second; is there \
                     a pooler in transaction mode before it?"
                );
            }
        }
    }

    /// Forgets the position, because this watch no longer knows what is registered.
    ///
    /// This is a loss of contact and not just a `Reset`: the server may have lost its data, and clients then
    /// give every living instance the time to register again.
    fn lose(&mut self) -> Error {
        self.position = None;
        Error::new(
            ErrorKind::Unavailable,
            "the server lost data, or this process was away for too long; reading all again",
        )
    }
}

async fn within<T>(time: Duration, call: impl Future<Output = T>) -> Result<T> {
    timeout(time, call).await.map_err(|_| {
        Error::new(ErrorKind::Timeout, format!("no answer within {time:.1?}; connecting again"))
    })
}
