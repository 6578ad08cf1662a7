//! The servers of a URL: which one is asked first, and which ones are asked when it does not answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gosd_core::{Error, ErrorKind, Result};
use gosd_net::race;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::connection::{Access, Connection};
use crate::options::Options;

/// The server that this client prefers, its home: the first in its own order.
const HOME: usize = 0;

/// Roughly how long a client that went to another server stays there before it asks its home again.
///
/// This is long compared to the restart of a server, so that the clients of a restarted server come back one
/// after another.
const AWAY: Duration = Duration::from_secs(60);

/// The time within which each of several servers is asked while those before it are silent. It is less than
/// the time for the goodbye of a process that ends, and less than the default bound of a call.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Servers that stand in for each other, because one database is behind them all.
pub(crate) struct Servers {
    options: Arc<Options>,
    /// The connections in this client's own order, so that many clients spread over the servers, and over the
    /// others when one fails.
    all: Vec<Arc<Connection>>,
    /// The server that is asked first.
    current: watch::Sender<usize>,
    /// When the home is asked again.
    home_at: Mutex<Instant>,
}

impl Servers {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let (access, options) = (Access::new(&options)?, Arc::new(options));
        let mut order: Vec<usize> = (0..options.servers.len()).collect();
        fastrand::shuffle(&mut order);
        let connection = |server| Arc::new(Connection::new(&options, server, &access));
        let all = order.into_iter().map(connection).collect();
        let (current, home_at) = (watch::Sender::new(HOME), Mutex::new(Instant::now()));
        Ok(Self { options, all, current, home_at })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// All servers in this client's order.
    pub(crate) fn all(&self) -> &[Arc<Connection>] {
        &self.all
    }

    pub(crate) fn at(&self, server: usize) -> &Arc<Connection> {
        &self.all[server]
    }

    /// Asks one server after another until one answers. Returns which one did.
    ///
    /// Each server gets an equal part of the time before the next one is asked, too. So a server that hangs
    /// costs only a moment, and a slow one may still answer. The next requests begin with the server that
    /// answered.
    ///
    /// # Errors
    ///
    /// The errors of all servers in one, if none does what it is asked for. Its kind is one that waiting
    /// cannot mend, if there is such an error.
    ///
    /// Cancel-safe as far as `ask` is. After a request that was dropped, the next one begins with another
    /// server.
    pub(crate) async fn ask<T, F>(
        &self,
        time: Duration,
        ask: impl Fn(usize) -> F,
    ) -> Result<(usize, T)>
    where
        F: Future<Output = Result<T>>,
    {
        let (begun, answer) = self.begin(time, ask).await?;
        Ok((begun.complete(), answer))
    }

    /// Asks as [`ask`](Self::ask) does, for what is only the beginning of an answer.
    ///
    /// The request is over once the rest has come, and is [complete](Begun::complete) then. It is not raced
    /// for: a long list would otherwise be sent by all of the servers.
    pub(crate) async fn begin<T, F>(
        &self,
        time: Duration,
        ask: impl Fn(usize) -> F,
    ) -> Result<(Begun<'_>, T)>
    where
        F: Future<Output = Result<T>>,
    {
        let failures = Mutex::new(Vec::new());
        let turns = self.turns();
        let mut begun = Begun {
            servers: self,
            first: turns[0],
            failure: None,
            answering: None,
            is_over: false,
        };
        let part = time / self.all.len() as u32;
        let answered = race(turns, part, |server| {
            let asked = ask(server);
            let failures = &failures;
            async move {
                let failed = |error| {
                    let name = self.all[server].name();
                    debug!(driver = "http", server = name, %error, "a server failed");
                    locked(failures).push((name, error));
                };
                asked.await.map(|answer| (server, answer)).map_err(failed)
            }
        });
        let answered = answered.await;
        let failures = std::mem::take(&mut *locked(&failures));
        let Ok((server, answer)) = answered else {
            // All were asked, so none is better to begin with.
            begun.is_over = true;
            return Err(self.failure(&failures));
        };
        let first = self.all[begun.first].name();
        begun.failure = failures.into_iter().find(|(name, _)| *name == first).map(|(_, it)| it);
        begun.answering = Some(server);
        Ok((begun, answer))
    }

    /// Begins with another server from now on, because the current one is silent.
    pub(crate) fn leave(&self, server: usize) {
        if self.all.len() > 1 && *self.current.borrow() == server {
            self.go_to((server + 1) % self.all.len());
        }
    }

    /// Waits until this client has come back to its home from another server. Cancel-safe.
    pub(crate) async fn came_home_from(&self, server: usize) -> usize {
        let mut current = self.current.subscribe();
        let is_home = |current: &usize| *current == HOME && server != HOME;
        if current.wait_for(is_home).await.map(drop).is_err() {
            // This cannot happen: `self` holds the sender.
            std::future::pending::<()>().await;
        }
        HOME
    }

    /// Begins with a server from now on. Returns the former one, if that was another.
    fn go_to(&self, server: usize) -> Option<usize> {
        let mut left = None;
        self.current.send_if_modified(|current| {
            left = Some(std::mem::replace(current, server)).filter(|left| *left != server);
            left.is_some()
        });
        if left.is_some() && server != HOME {
            *locked(&self.home_at) = Instant::now() + away();
        }
        left
    }

    /// All servers, in the order in which they are asked.
    fn turns(&self) -> Vec<usize> {
        let (current, count) = (*self.current.borrow(), self.all.len());
        let mut turns: Vec<usize> = (current..count).chain(0..current).collect();
        let mut home_at = locked(&self.home_at);
        if current != HOME && *home_at <= Instant::now() {
            *home_at = Instant::now() + away();
            turns.retain(|server| *server != HOME);
            turns.insert(0, HOME);
        }
        turns
    }

    /// The errors of all servers that were asked in one, with the servers' names.
    pub(crate) fn failure(&self, failures: &[(&str, Error)]) -> Error {
        let lasting = failures.iter().find(|(_, error)| !error.is_retryable());
        let Some((_, telling)) = lasting.or_else(|| failures.first()) else {
            return Error::new(ErrorKind::Unavailable, "there is no server to ask");
        };
        let count = self.all.len();
        if count == 1 {
            return telling.clone();
        }
        let said = failures.iter().map(|(name, error)| format!("{name}: {error}"));
        let said = said.collect::<Vec<_>>().join("; ");
        Error::new(telling.kind(), format!("none of the {count} servers does it: {said}"))
    }
}

fn away() -> Duration {
    AWAY.mul_f64(0.5 + fastrand::f64())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request whose answer has not come, or not all of it. If it is dropped, the next one begins with another server.
#[must_use = "a request that is dropped makes the client leave the server"]
pub(crate) struct Begun<'a> {
    servers: &'a Servers,
    /// The server that was asked first.
    first: usize,
    /// Why that one does not answer, if it is not silent.
    failure: Option<Error>,
    /// The server whose answer is coming.
    answering: Option<usize>,
    is_over: bool,
}

impl Begun<'_> {
    /// The server whose answer is coming.
    pub(crate) fn server(&self) -> usize {
        self.answering.unwrap_or(self.first)
    }

    /// Records that the whole answer has come and is good: the next requests begin with its server, which this
    /// returns.
    pub(crate) fn complete(mut self) -> usize {
        self.is_over = true;
        let (servers, server) = (self.servers, self.server());
        if let Some(left) = servers.go_to(server).filter(|left| *left == self.first) {
            let (left, next) = (servers.all[left].name(), servers.all[server].name());
            let error = self.failure.as_ref().map_or("it is silent".to_owned(), Error::to_string);
            warn!(driver = "http", server = left, error, next, "a server fails; going to another");
        }
        server
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.servers.leave(self.first);
            self.servers.leave(self.server());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{advance, sleep, timeout};

    use super::*;

    const TIME: Duration = Duration::from_secs(3);
    const PART: Duration = Duration::from_secs(1);

    fn three() -> Servers {
        Servers::new(Options::parse("http://a,b,c").unwrap()).unwrap()
    }

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "refused")
    }

    /// Asks servers of which some fail, and others are silent.
    async fn asked(servers: &Servers, failing: &[usize], silent: &[usize]) -> Result<usize> {
        let ask = async |server| {
            if silent.contains(&server) {
                pending::<()>().await;
            }
            if failing.contains(&server) { Err(unavailable()) } else { Ok(server) }
        };
        let (server, answer) = servers.ask(TIME, ask).await?;
        assert_eq!(server, answer);
        Ok(server)
    }

    #[test]
    fn clients_spread_over_the_servers() {
        let homes: Vec<String> = (0..200).map(|_| three().at(HOME).name().to_owned()).collect();
        for name in ["a:80", "b:80", "c:80"] {
            let count = homes.iter().filter(|home| *home == name).count();
            assert!((20..=120).contains(&count), "{count} of 200 begin with {name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_server_costs_no_time_and_a_silent_one_a_part_of_the_time() {
        let (servers, begun) = (three(), Instant::now());
        assert_eq!(asked(&servers, &[], &[]).await.unwrap(), 0);
        assert_eq!(asked(&servers, &[0], &[]).await.unwrap(), 1);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(asked(&servers, &[], &[1]).await.unwrap(), 2);
        assert_eq!(begun.elapsed(), PART);
        // The server that answered is asked first from now on.
        assert_eq!(asked(&servers, &[], &[0, 1]).await.unwrap(), 2);
        assert_eq!(begun.elapsed(), PART);
        assert_eq!(asked(&servers, &[2], &[0]).await.unwrap(), 1);
        assert_eq!(begun.elapsed(), 2 * PART);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_may_answer_after_all() {
        let servers = three();
        let slow = async |server| {
            sleep(TIME + PART).await;
            if server == HOME { Ok(()) } else { Err(unavailable()) }
        };
        assert_eq!(servers.ask(TIME, slow).await.unwrap().0, HOME);
        assert_eq!(*servers.current.borrow(), HOME);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_request_that_was_dropped_another_server_is_asked_first() {
        let servers = three();
        assert!(timeout(PART / 2, asked(&servers, &[], &[0])).await.is_err());
        let begun = Instant::now();
        assert_eq!(asked(&servers, &[], &[0]).await.unwrap(), 1);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // With only one server there is no other to go to.
        let one = Servers::new(Options::parse("http://a").unwrap()).unwrap();
        assert!(timeout(PART / 2, asked(&one, &[], &[0])).await.is_err());
        assert_eq!(asked(&one, &[], &[]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_comes_home_when_its_home_answers_again() {
        let servers = three();
        assert_eq!(asked(&servers, &[0], &[]).await.unwrap(), 1);
        let came_home = servers.came_home_from(1);
        tokio::pin!(came_home);
        advance(AWAY / 2 - PART).await;
        assert_eq!(asked(&servers, &[], &[]).await.unwrap(), 1, "not so soon");
        advance(AWAY + 2 * PART).await;
        assert_eq!(asked(&servers, &[0], &[]).await.unwrap(), 1, "it asks, and stays");
        advance(PART).await;
        assert_eq!(asked(&servers, &[], &[]).await.unwrap(), 1, "once in that time");
        assert!(timeout(Duration::ZERO, &mut came_home).await.is_err());
        advance(AWAY * 2).await;
        assert_eq!(asked(&servers, &[], &[]).await.unwrap(), HOME);
        assert_eq!(came_home.await, HOME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_complete_its_answer_is_left() {
        let servers = three();
        let begin = async |failing| {
            let ask = async |server| if server == failing { Err(unavailable()) } else { Ok(()) };
            servers.begin(TIME, ask).await.unwrap().0
        };
        let begun = begin(2).await;
        assert_eq!(begun.server(), HOME);
        drop(begun);
        let begun = begin(1).await;
        assert_eq!(begun.server(), 2, "it begins with another, and that one fails");
        drop(begun);
        assert_eq!(begin(0).await.complete(), 1);
        // Its home begins to answer again, which is not yet a reason to go there.
        advance(AWAY * 2).await;
        let begun = begin(2).await;
        assert_eq!(begun.server(), HOME);
        assert_eq!(*servers.current.borrow(), 1);
        drop(begun);
        assert_eq!(asked(&servers, &[], &[]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_error_names_each_server_and_is_of_the_kind_that_lasts() {
        let servers = three();
        let error = asked(&servers, &[0, 1, 2], &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        for name in ["a:80: refused", "b:80: refused", "c:80: refused"] {
            assert!(error.to_string().contains(name), "{error}");
        }
        let denied = async |server| -> Result<()> {
            Err(if server == 1 { Error::new(ErrorKind::Denied, "no") } else { unavailable() })
        };
        let error = servers.ask(TIME, denied).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}
