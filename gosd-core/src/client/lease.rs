//! The background task that keeps the registration: heartbeats, repair, and goodbyes.
//!
//! What the client wants is in the state. The task brings the backend in line with it, again and
//! again while the client wants to be found, and once for everybody who asks.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use super::keeper::Reply;
use super::start::Starting;
use super::state::State;
use crate::follow::call;
use crate::pace::{Backoff, jittered, up_to};
use crate::{Driver, Error, ErrorKind, InstanceId, Result};

/// How long at most a client waits before it repairs its registration, so that not all do at once.
const REPAIR: Duration = Duration::from_secs(1);

/// Renews the registration while it is wanted, and says goodbye when it is not any more.
pub(super) async fn run(
    state: Arc<State>,
    driver: Arc<dyn Driver>,
    id: InstanceId,
    mut requests: mpsc::UnboundedReceiver<Reply>,
    starting: Starting,
) {
    let backoff = Backoff::of_lease(state.settings.lease_ttl);
    let mut lease =
        Lease { state: &state, driver: &*driver, id: &id, starting, backoff, is_told: true };
    loop {
        let asked = match state.is_wanted() {
            true => lease.hold(&mut requests).await,
            false => {
                lease.starting.succeeded();
                requests.recv().await.map(|reply| Asked::now(reply, &state))
            }
        };
        let Some(Asked { reply, deadline }) = asked else { return };
        let result = match state.is_wanted() {
            true => lease.beat().await.1,
            false => lease.goodbye(deadline).await,
        };
        // Whoever asked may have stopped waiting.
        let _ = reply.send(result);
    }
}

struct Lease<'a> {
    state: &'a State,
    driver: &'a dyn Driver,
    id: &'a InstanceId,
    starting: Starting,
    backoff: Backoff,
    /// Whether the backend was told that the instance is gone, after the last heartbeat.
    is_told: bool,
}

/// Somebody waits until then for the backend to be in line with what the client wants.
struct Asked {
    reply: Reply,
    deadline: Instant,
}

impl Asked {
    fn now(reply: Reply, state: &State) -> Self {
        Self { reply, deadline: Instant::now() + state.settings.timeout }
    }
}

impl Lease<'_> {
    /// Sends heartbeats until somebody asks for something; `None` if the client is no more.
    async fn hold(&mut self, requests: &mut mpsc::UnboundedReceiver<Reply>) -> Option<Asked> {
        let state = self.state;
        loop {
            let latest = Instant::now() + attempt(state);
            let (next_at, asked) = {
                let mut beat = pin!(self.beat());
                tokio::select! {
                    biased;
                    (next_at, _) = &mut beat => (next_at, None),
                    reply = requests.recv() => {
                        let asked = Asked::now(reply?, state);
                        // A renewal that arrived after the goodbye would undo it.
                        let _ = timeout_at(latest.min(asked.deadline), &mut beat).await;
                        (latest, Some(asked))
                    }
                }
            };
            if asked.is_some() {
                return asked;
            }
            if self.starting.has_failed() {
                return None;
            }
            tokio::select! {
                biased;
                reply = requests.recv() => return Some(Asked::now(reply?, state)),
                () = due(state, next_at) => {}
            }
        }
    }

    /// Sends one heartbeat; returns when the next is due, and how this one went.
    ///
    /// While a lease runs, it leaves time for two more.
    async fn beat(&mut self) -> (Instant, Result<()>) {
        let Some(own) = self.state.own() else { return (Instant::now(), Ok(())) };
        let ttl = self.state.settings.lease_ttl;
        let bound = match self.state.lease_runs() {
            true => ttl / 5,
            false => (ttl / 3).max(Duration::from_secs(1)),
        };
        let bound = bound.min(self.state.settings.timeout);
        let sent_at = Instant::now();
        self.is_told = false;
        let result = call(self.driver, "register", bound, || self.driver.register(&own, ttl)).await;
        let next_at = match &result {
            Ok(()) => {
                self.state.registered(&own, sent_at);
                self.starting.succeeded();
                self.backoff.reset();
                sent_at + jittered(ttl / 3)
            }
            Err(error) => {
                self.state.registration_failed(error);
                self.starting.failed(error.clone());
                Instant::now() + self.backoff.pause()
            }
        };
        (next_at, result)
    }

    /// Deregisters, again and again until the deadline, unless that was done.
    async fn goodbye(&mut self, deadline: Instant) -> Result<()> {
        let result = match self.is_told {
            true => Ok(()),
            false => self.deregister(deadline).await,
        };
        self.is_told = result.is_ok();
        self.state.has_left(self.id, &result);
        result
    }

    async fn deregister(&self, deadline: Instant) -> Result<()> {
        let driver = self.driver.name();
        let mut backoff = Backoff::new(attempt(self.state));
        let mut last;
        let result = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let bound = attempt(self.state).min(left);
            let deregister = || self.driver.deregister(self.id);
            match call(self.driver, "deregister", bound, deregister).await {
                Ok(()) => break Ok(()),
                Err(error) if error.is_retryable() => last = error,
                Err(error) => break Err(error),
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                let ttl = self.state.settings.lease_ttl;
                let message =
                    format!("the backend could not be told; the lease runs out within {ttl:?}");
                let error = Error::new(ErrorKind::Timeout, message).caused_by(last);
                break Err(error.at(driver, "deregister"));
            }
            sleep(pause).await;
        };
        match &result {
            Ok(()) => info!(driver, id = %self.id, "left"),
            Err(error) => warn!(driver, %error, "left without a goodbye"),
        }
        result
    }
}

/// Waits until the next heartbeat is due, or is needed because the registration is gone.
async fn due(state: &State, next_at: Instant) {
    let mut next = pin!(sleep_until(next_at));
    loop {
        tokio::select! {
            () = &mut next => return,
            () = state.own_gone.notified() => {
                sleep(up_to(REPAIR.min(state.settings.lease_ttl / 10))).await;
                if state.own_is_gone() {
                    return;
                }
            }
        }
    }
}

/// How long one attempt to leave may take, so that there is time for a second and a third.
fn attempt(state: &State) -> Duration {
    state.settings.timeout / 3
}
