//! The background task that keeps the registration: heartbeats, repair, and the goodbye.

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
use crate::{Driver, Error, ErrorKind, Instance, Result};

/// How long at most a client waits before it repairs its registration, so that not all do at once.
const REPAIR: Duration = Duration::from_secs(1);

/// Renews the registration until it is asked to leave, and says goodbye as often as it is asked.
pub(super) async fn run(
    state: Arc<State>,
    driver: Arc<dyn Driver>,
    instance: Instance,
    mut leave: mpsc::UnboundedReceiver<Reply>,
    starting: Starting,
) {
    let lease = Lease { state: &state, driver: &*driver, instance: &instance };
    let Some(first) = lease.hold(&mut leave, starting).await else { return };
    let mut request = Some(first);
    let mut has_left = false;
    while let Some(Asked { reply, deadline }) = request {
        let result = if has_left { Ok(()) } else { lease.goodbye(deadline).await };
        has_left = result.is_ok();
        state.has_left(&instance, &result);
        // Whoever asked may have stopped waiting.
        let _ = reply.send(result);
        request = leave.recv().await.map(|reply| lease.asked(reply));
    }
}

struct Lease<'a> {
    state: &'a State,
    driver: &'a dyn Driver,
    instance: &'a Instance,
}

/// Somebody wants to leave, and waits for it until then.
struct Asked {
    reply: Reply,
    deadline: Instant,
}

impl Lease<'_> {
    /// Sends heartbeats until somebody asks to leave; `None` if the client does not come to be.
    async fn hold(
        &self,
        leave: &mut mpsc::UnboundedReceiver<Reply>,
        mut starting: Starting,
    ) -> Option<Asked> {
        let ttl = self.state.settings.lease_ttl;
        let mut backoff = Backoff::of_lease(ttl);
        loop {
            let sent_at = Instant::now();
            let mut beat = pin!(self.beat());
            let (result, asked) = tokio::select! {
                biased;
                result = &mut beat => (Some(result), None),
                reply = leave.recv() => {
                    let asked = self.asked(reply?);
                    // A renewal that arrived after the goodbye would undo it.
                    let rest = sent_at + self.attempt();
                    (timeout_at(rest.min(asked.deadline), beat).await.ok(), Some(asked))
                }
            };
            let next_at = match result {
                Some(Ok(())) => {
                    self.state.registered(self.instance, sent_at);
                    starting.succeeded();
                    backoff.reset();
                    sent_at + jittered(ttl / 3)
                }
                Some(Err(error)) => {
                    self.state.registration_failed(&error);
                    starting.failed(error);
                    Instant::now() + backoff.pause()
                }
                None => Instant::now(),
            };
            if starting.has_failed() {
                return None;
            }
            if asked.is_some() {
                return asked;
            }
            tokio::select! {
                biased;
                reply = leave.recv() => return Some(self.asked(reply?)),
                () = self.due(next_at) => {}
            }
        }
    }

    /// One heartbeat. While a lease runs, it leaves time for two more.
    async fn beat(&self) -> Result<()> {
        let ttl = self.state.settings.lease_ttl;
        let bound = match self.state.lease_runs() {
            true => ttl / 5,
            false => (ttl / 3).max(Duration::from_secs(1)),
        };
        let bound = bound.min(self.state.settings.timeout);
        let register = || self.driver.register(self.instance, ttl);
        call(self.driver, "register", bound, register).await
    }

    /// Waits until the next heartbeat is due, or is needed because the registration is gone.
    async fn due(&self, next_at: Instant) {
        let mut next = pin!(sleep_until(next_at));
        loop {
            tokio::select! {
                () = &mut next => return,
                () = self.state.own_gone.notified() => {
                    sleep(up_to(REPAIR.min(self.state.settings.lease_ttl / 10))).await;
                    if self.state.own_is_gone() {
                        return;
                    }
                }
            }
        }
    }

    fn asked(&self, reply: Reply) -> Asked {
        Asked { reply, deadline: Instant::now() + self.state.settings.timeout }
    }

    /// How long one attempt to leave may take, so that there is time for a second and a third.
    fn attempt(&self) -> Duration {
        self.state.settings.timeout / 3
    }

    /// Deregisters, again and again until the deadline.
    async fn goodbye(&self, deadline: Instant) -> Result<()> {
        let mut backoff = Backoff::new(self.attempt());
        let mut last;
        let result = loop {
            let bound = self.attempt().min(deadline.saturating_duration_since(Instant::now()));
            let deregister = || self.driver.deregister(self.instance.id());
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
                break Err(error.at(self.driver.name(), "deregister"));
            }
            sleep(pause).await;
        };
        let driver = self.driver.name();
        match &result {
            Ok(()) => info!(driver, id = %self.instance.id(), "left"),
            Err(error) => warn!(driver, %error, "left without a goodbye"),
        }
        result
    }
}
