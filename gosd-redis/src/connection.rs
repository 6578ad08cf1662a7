//! Finds the server that holds the registry, and connects to it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gosd_core::limits::join_host;
use gosd_core::{Error, ErrorKind, Result};
use gosd_net::race;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
    Value,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

use crate::answers::Answers;
use crate::options::{Host, Options, Topology};
use crate::{error, socket};

/// How long the connection to one server and its first answer may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a host is waited for before the next one is asked as well.
const STAGGER: Duration = Duration::from_millis(500);
/// How many times in a row the nodes of a cluster may redirect to another node.
const REDIRECTS: usize = 5;

/// A connection to the server that holds the registry. Dropping it closes it.
pub(crate) struct Connection {
    pub(crate) redis: Answers,
    /// The server of this connection.
    pub(crate) host: Host,
    pump: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Connection {
    /// Finds the server and connects to it, asking each of the hosts once at most.
    ///
    /// A host that does not answer delays the next one for a moment only. Each question has its bound in time,
    /// because the calls of a driver wait for the same attempt.
    pub(crate) async fn open(options: &Options) -> Result<Self> {
        let mut hosts: Vec<&Host> = options.hosts.iter().collect();
        // In random order, so that not all processes begin with the same one.
        fastrand::shuffle(&mut hosts);
        let failures = Mutex::new(None);
        let opened = race(hosts, STAGGER, async |host| {
            let opened = by_way_of(host, options).await;
            opened.map_err(|error| note(&failures, error))
        });
        // An error is among the failures.
        if let Ok(connection) = opened.await {
            return Ok(connection);
        }
        let failure = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Config, "the URL names no host")))
    }
}

/// Notes the failure to reach one host. A refusal tells the user more than silence, and is kept.
fn note(failure: &Mutex<Option<Error>>, error: Error) {
    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
    if failure.as_ref().is_none_or(Error::is_retryable) {
        *failure = Some(error);
    }
}

async fn by_way_of(host: &Host, options: &Options) -> Result<Connection> {
    match &options.topology {
        Topology::Single => {
            let (connection, answer) = dial(host, options, &greeting(options)).await?;
            if moved_to(&answer, host).is_some() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("{} is in a cluster; its URL is redis+cluster://", shown(host)),
                ));
            }
            answer.map_err(|error| at(host, &error))?;
            Ok(connection)
        }
        Topology::Cluster => in_cluster(host.clone(), options).await,
        Topology::Sentinel { master } => {
            let master = ask_sentinel(host, options, master).await?;
            let (mut connection, answer) = dial(&master, options, &greeting(options)).await?;
            answer.map_err(|error| at(&master, &error))?;
            // A sentinel can be out of date: the master that it names may have become a replica.
            let question = redis::cmd("ROLE");
            let role = question.query_async::<Vec<Value>>(&mut connection.redis);
            // It may freeze after the greeting.
            let silence = |_| {
                let message = format!("{}: no further answer within {CONNECT:?}", shown(&master));
                Error::new(ErrorKind::Timeout, message)
            };
            match timeout(CONNECT, role).await.map_err(silence)? {
                Ok(role) if role.first() == Some(&Value::BulkString(b"master".into())) => {}
                // Without the permission to ask, the sentinel's answer is used, until a write shows whether
                // it is right.
                Err(error) if error::is_denied(&error) => {
                    info!("cannot tell if {} is the master, for want of ROLE", shown(&master));
                }
                Err(error) => return Err(at(&master, &error)),
                Ok(_) => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        format!("{} is not the master; is a failover under way?", shown(&master)),
                    ));
                }
            }
            Ok(connection)
        }
    }
}

/// All keys are in one slot, so only the node that has this slot is needed.
async fn in_cluster(mut host: Host, options: &Options) -> Result<Connection> {
    for _ in 0..=REDIRECTS {
        let (connection, answer) = dial(&host, options, &greeting(options)).await?;
        match moved_to(&answer, &host) {
            Some(other) => host = other,
            None => return answer.map(|_| connection).map_err(|error| at(&host, &error)),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the cluster redirects in a loop"))
}

async fn ask_sentinel(host: &Host, options: &Options, master: &str) -> Result<Host> {
    let mut question = redis::pipe();
    question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let (_, mut answer) = dial(host, options, &question).await?;
    if answer.as_ref().is_err_and(error::is_denied) && options.password.is_some() {
        // Sentinels have separate passwords, and usually none.
        let mut with_password = credentials(options);
        with_password.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        (_, answer) = dial(host, options, &with_password).await?;
    }
    let address = match answer.map_err(|error| at(host, &error)) {
        Ok(mut answer) => answer.pop().unwrap_or(Value::Nil),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let problem = format!("{} is no sentinel; correct the URL", shown(host));
            return Err(Error::new(ErrorKind::Config, problem));
        }
        Err(error) => return Err(error),
    };
    match redis::from_redis_value::<Option<Host>>(address) {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Error::new(
            ErrorKind::Config,
            format!("the sentinel {} knows no master {master:?}", shown(host)),
        )),
        Err(error) => Err(at(host, &error.into())),
    }
}

/// The first commands to the server: the user, the database, and a test whether it has the registry.
pub(crate) fn greeting(options: &Options) -> Pipeline {
    let mut greeting = credentials(options);
    if options.database != 0 {
        greeting.cmd("SELECT").arg(options.database);
    }
    greeting.cmd("EXISTS").arg(&options.namespace);
    greeting
}

fn credentials(options: &Options) -> Pipeline {
    let mut pipeline = redis::pipe();
    if let Some(password) = &options.password {
        pipeline.cmd("AUTH").arg(options.user.as_deref()).arg(password);
    }
    pipeline
}

/// Connects, and sends the first commands. Their answer is separate from a failure to connect.
async fn dial(
    host: &Host,
    options: &Options,
    first: &Pipeline,
) -> Result<(Connection, RedisResult<Vec<Value>>)> {
    let attempt = async {
        let socket = gosd_net::open(&host.0, host.1, options.tls.as_ref()).await?;
        let (redis, pump) = MultiplexedConnection::new_with_config(
            &RedisConnectionInfo::default()
                .set_protocol(ProtocolVersion::RESP2)
                .set_skip_set_lib_name(),
            socket,
            // The callers bound what they wait for.
            AsyncConnectionConfig::new().set_response_timeout(None),
        )
        .await
        .map_err(|error| error::from_redis(&error))?;
        let (redis, pump) = Answers::run(redis, pump);
        let mut connection = Connection { redis, host: host.clone(), pump };
        let answer = first.query_async(&mut connection.redis).await;
        match answer {
            Err(error) if !is_from_server(&error) => Err(error::from_redis(&error)),
            answer => Ok((connection, answer)),
        }
    };
    let silence = || {
        Error::new(
            ErrorKind::Timeout,
            format!("no answer within {CONNECT:?}; is that a Redis server?"),
        )
    };
    let failure = match timeout(CONNECT, attempt).await {
        Ok(Ok(connected)) => return Ok(connected),
        Ok(Err(failure)) => failure,
        Err(_) => silence(),
    };
    let diagnosis = match failure.is_retryable() {
        true => socket::diagnose(host, options.tls.as_ref()).await,
        false => None,
    };
    let failure = diagnosis.unwrap_or(failure);
    Err(Error::new(failure.kind(), format!("{}: {failure}", shown(host))))
}

fn is_from_server(error: &RedisError) -> bool {
    error.clone().into_server_errors().is_some()
}

/// The node that has the registry, if the answer redirects to another one.
fn moved_to(answer: &RedisResult<Vec<Value>>, asked: &Host) -> Option<Host> {
    let errors = answer.as_ref().err()?.clone().into_server_errors()?;
    let (_, moved) = errors.first().filter(|(_, error)| error.code() == "MOVED")?;
    let (host, port) = moved.details()?.rsplit(' ').next()?.rsplit_once(':')?;
    // A node that does not know its own name leaves the host out.
    let host = if host.is_empty() || host == "?" { &asked.0 } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

fn at(host: &Host, error: &RedisError) -> Error {
    let error = error::from_redis(error);
    Error::new(error.kind(), format!("{}: {error}", shown(host)))
}

fn shown((host, port): &Host) -> String {
    join_host(host, *port)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    /// Paused time runs ahead whenever there is nothing else to do, which is the case with silent hosts.
    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_frozen_delays_the_next_for_a_moment_only() {
        let mut listeners = Vec::new();
        for _ in 0..4 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports: Vec<u16> = listeners.iter().map(|it| it.local_addr().unwrap().port()).collect();
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        tokio::spawn(answer(listeners.pop().unwrap()));
        for (scheme, path) in [("redis+cluster", ""), ("redis+sentinel", "/mymaster")] {
            let url = format!("{scheme}://{}{path}", hosts.join(","));
            let options = Options::parse(&url).unwrap();
            // The order is random.
            for _ in 0..10 {
                let begin = Instant::now();
                let connection = Connection::open(&options).await.unwrap();
                assert_eq!(connection.host.1, ports[3]);
                assert!(begin.elapsed() <= 3 * STAGGER, "{scheme}: {:?}", begin.elapsed());
            }
        }
    }

    #[test]
    fn a_refusal_counts_more_than_silence() {
        for kinds in [
            [ErrorKind::Timeout, ErrorKind::Denied, ErrorKind::Unavailable],
            [ErrorKind::Denied, ErrorKind::Config, ErrorKind::Timeout],
        ] {
            let failure = Mutex::new(None);
            for kind in kinds {
                note(&failure, Error::new(kind, "no"));
            }
            assert_eq!(failure.into_inner().unwrap().unwrap().kind(), ErrorKind::Denied);
        }
    }

    /// A server that is a sentinel, and names itself as the master.
    async fn answer(listener: TcpListener) {
        let port = listener.local_addr().unwrap().port().to_string();
        let address = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let address = address.clone();
            tokio::spawn(async move {
                let mut said = [0; 1_024];
                while let Ok(count @ 1..) = client.read(&mut said).await {
                    let said = String::from_utf8_lossy(&said[..count]);
                    let answer = match () {
                        () if said.contains("SENTINEL") => &address,
                        () if said.contains("ROLE") => "*1\r\n$6\r\nmaster\r\n",
                        () => ":0\r\n",
                    };
                    client.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    }
}
