//! Finds the server that accepts writes, and connects to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gosd_core::limits::join_host;
use gosd_core::{Error, ErrorKind, Instance, InstanceId, Result};
use gosd_net::Fault;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Error as PgError, NoTls, SimpleQueryMessage};
use tracing::debug;

use crate::options::{Host, Options};
use crate::{error, layout, socket};

/// How long the connection to one server may take, including authentication.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the check of the tables, and their creation, may take beyond that.
const PREPARE: Duration = Duration::from_secs(5);
/// How long a write waits for the end of connections that were given up.
const END: Duration = Duration::from_secs(2);

/// A connection to the server that accepts writes. Dropping it closes it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The highest log number that the server has sent as a notification.
    pub(crate) bell: watch::Receiver<i64>,
    /// The name by which the server can tell this connection from all others.
    name: String,
    given_up: Arc<GivenUp>,
    pump: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Connection {
    /// Connects to the first host that accepts writes.
    ///
    /// `at` is the host to begin with. After a call that has come to its end that is the first one again, and after
    /// one that was dropped the one that it was waiting for. So a caller who does not wait for all of them reaches each
    /// in the end, however many are silent.
    pub(crate) async fn open(
        options: &Options,
        given_up: Arc<GivenUp>,
        at: &mut usize,
    ) -> Result<Self> {
        let mut failure: Option<Error> = None;
        let count = options.hosts.len();
        for turn in *at..*at + count {
            *at = turn % count;
            match Self::to(&options.hosts[*at], options, &given_up).await {
                Ok(connection) => {
                    *at = 0;
                    return Ok(connection);
                }
                // A refusal tells the user more than silence.
                Err(error) if failure.as_ref().is_none_or(Error::is_retryable) => {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        *at = 0;
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Config, "the URL names no host")))
    }

    async fn to(host: &Host, options: &Options, given_up: &Arc<GivenUp>) -> Result<Self> {
        let failure = match timeout(CONNECT, dial(host, options, given_up)).await {
            Ok(Ok(connection)) => match timeout(PREPARE, layout::prepare(&connection.client)).await
            {
                Ok(Ok(())) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => silence(PREPARE),
            },
            Ok(Err(failure)) if !failure.is_retryable() => failure,
            failed => {
                let failure = failed.ok().and_then(Result::err).unwrap_or_else(|| silence(CONNECT));
                socket::refusal(host, options.tls.as_ref()).await.unwrap_or(failure)
            }
        };
        Err(Error::new(failure.kind(), format!("{}: {failure}", join_host(&host.0, host.1))))
    }

    /// Writes an instance or its goodbye (`None`), after ending the connections on which something else was given up
    /// before.
    ///
    /// If the answer does not come, or the caller stops waiting, the server may still execute the statement
    /// later. It counts as given up then, and the next write of this instance ends its connection first, unless it
    /// writes the same. Heartbeats, and the writes of other instances, do not wait for that: a process of the
    /// server may be stuck in what it does.
    pub(crate) async fn write(
        &self,
        id: &InstanceId,
        instance: Option<&Instance>,
        statement: impl Future<Output = Result<(), PgError>>,
    ) -> Result<(), Fault> {
        self.settle(id, instance).await?;
        let mut writing = Writing { connection: self, id, instance, is_answered: false };
        let answer = statement.await;
        writing.is_answered = answer.as_ref().err().is_none_or(error::is_of_server);
        answer.map_err(|error| fault(&error))
    }

    /// Ends the connections on which another write of an instance was given up, so that the server executes none
    /// of these any more.
    async fn settle(&self, id: &InstanceId, now: Option<&Instance>) -> Result<(), Fault> {
        let mut names = self.given_up.others(id, now);
        // Statements on this connection are executed in order, so it need not be ended.
        names.retain(|name| *name != self.name);
        if names.is_empty() {
            return Ok(());
        }
        let give_up = Instant::now() + END;
        // The user who has connected sees the processes, and may end them. A role that was set may do neither. Both
        // statements are one transaction, and the names are of our own making.
        let end = format!(
            "SET LOCAL ROLE NONE;
             SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name IN ('{}') AND usename = session_user",
            names.join("', '")
        );
        loop {
            match self.client.simple_query(&end).await {
                Ok(answer) if counts_none(&answer) => break,
                Ok(_) if Instant::now() > give_up => {
                    let message = "a connection that was given up does not end";
                    return Err(Fault::Server(Error::new(ErrorKind::Unavailable, message)));
                }
                Ok(_) => sleep(Duration::from_millis(20)).await,
                Err(error) => return Err(fault(&error)),
            }
        }
        self.given_up.forget(&names);
        Ok(())
    }
}

/// The writes that were given up.
///
/// Each connection is a separate process of the server, and the processes do not wait for each other. So a
/// statement on an old connection could be executed after one on the next.
#[derive(Default)]
pub(crate) struct GivenUp(Mutex<VecDeque<Write>>);

/// A write that may still be executed.
#[derive(PartialEq)]
struct Write {
    id: InstanceId,
    /// What was written; `None` for a goodbye.
    instance: Option<Instance>,
    /// The name of the connection.
    by: String,
}

impl GivenUp {
    /// How many are remembered. Behind a registry server most instances are never written again.
    const MOST: usize = 1_024;

    fn add(&self, write: Write) {
        let mut all = self.all();
        if !all.contains(&write) {
            all.push_back(write);
        }
        while all.len() > Self::MOST {
            all.pop_front();
        }
    }

    /// The connections by which an instance may still be written otherwise than now.
    fn others(&self, id: &InstanceId, now: Option<&Instance>) -> Vec<String> {
        let all = self.all();
        let others = all.iter().filter(|it| it.id == *id && it.instance.as_ref() != now);
        others.map(|it| it.by.clone()).collect()
    }

    /// Forgets connections that have ended.
    fn forget(&self, names: &[String]) {
        self.all().retain(|it| !names.contains(&it.by));
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Write>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writing<'a> {
    connection: &'a Connection,
    id: &'a InstanceId,
    instance: Option<&'a Instance>,
    is_answered: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.connection.given_up.add(Write {
                id: self.id.clone(),
                instance: self.instance.cloned(),
                by: self.connection.name.clone(),
            });
        }
    }
}

fn counts_none(answer: &[SimpleQueryMessage]) -> bool {
    let mut rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    rows.next() == Some("0")
}

/// The failure of a call, and whether a new connection may help.
pub(crate) fn fault(error: &PgError) -> Fault {
    let meaning = error::from_postgres(error);
    match error::wants_another(error) {
        true => Fault::Connection(meaning),
        false => Fault::Server(meaning),
    }
}

async fn dial(host: &Host, options: &Options, given_up: &Arc<GivenUp>) -> Result<Connection> {
    let name = format!("gosd-{:016x}", fastrand::u64(..));
    let mut config = Config::new();
    config
        .user(&options.user)
        .dbname(&options.database)
        .application_name(&name)
        // The socket has TLS already.
        .ssl_mode(SslMode::Disable);
    if let Some(password) = &options.password {
        config.password(password);
    }
    let socket = socket::open(host, options.tls.as_ref()).await?;
    let connected = config.connect_raw(socket, NoTls).await;
    let (client, mut connection) = connected.map_err(|error| error::from_postgres(&error))?;
    let (ring, bell) = watch::channel(0);
    let pump = tokio::spawn(async move {
        let mut messages = stream::poll_fn(|context| connection.poll_message(context));
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(rung)) => {
                    let number = rung.payload().parse().unwrap_or(0);
                    ring.send_modify(|highest: &mut i64| *highest = number.max(*highest));
                }
                Ok(_) => {}
                // The callers that wait for answers get the error. The connection must not be polled again.
                Err(error) => {
                    debug!("the connection has ended: {}", error::from_postgres(&error));
                    return;
                }
            }
        }
    });
    Ok(Connection { client, bell, name, given_up: Arc::clone(given_up), pump })
}

fn silence(time: Duration) -> Error {
    let message = format!("no answer within {time:?}; is that a PostgreSQL server?");
    Error::new(ErrorKind::Timeout, message)
}
