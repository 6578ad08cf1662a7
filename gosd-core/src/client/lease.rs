//! The background task that keeps the registration: heartbeats, repair, and goodbyes.
//!
//! The state says what the client wants. The task makes the backend agree with it, repeatedly while the
//! client wants to be found, and once for each caller that asks.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use super::keeper::{Reply, until};
use super::start::Starting;
use super::state::State;
use crate::follow::call;
use crate::pace::{Backoff, jittered, up_to};
use crate::registry::grace;
use crate::rules::Rule;
use crate::{Driver, Error, ErrorKind, Instance, InstanceId, Result};

/// A client that finds its registration gone is back within this time.
const REPAIR: Duration = Duration::from_secs(1);

/// A caller that waits for the backend to agree with what the client wants.
pub(super) struct Request {
    pub(super) reply: Reply,
    pub(super) asked_at: Instant,
}

/// Renews the registration while it is wanted, and says goodbye when it is not any more.
pub(super) async fn run(
    state: Arc<State>,
    driver: Arc<dyn Driver>,
    id: InstanceId,
    mut requests: mpsc::UnboundedReceiver<Request>,
    starting: Starting,
) {
    let mut lease = Lease {
        state: &state,
        driver: &*driver,
        id: &id,
        starting,
        backoff: Backoff::of_lease(state.settings.lease_ttl),
        next_at: Instant::now(),
        is_told: true,
        is_drained: false,
    };
    while !lease.starting.has_failed() {
        let asked = tokio::select! {
            biased;
            request = requests.recv() => Some(request),
            () = lease.due() => lease.beat_unless(requests.recv()).await,
        };
        match asked {
            Some(Some(request)) => {
                // Whoever asked meanwhile gets the same answer, so that no caller waits for those before it.
                let others = std::iter::from_fn(|| requests.try_recv().ok());
                let waiting = std::iter::once(request).chain(others).collect();
                lease.answer(waiting).await;
            }
            // The last clone of the client was dropped.
            Some(None) => return,
            None => {}
        }
    }
}

impl Request {
    fn answer(self, result: Result<()>) {
        // The caller may have stopped waiting.
        let _ = self.reply.send(result);
    }
}

struct Lease<'a> {
    state: &'a State,
    driver: &'a dyn Driver,
    id: &'a InstanceId,
    starting: Starting,
    backoff: Backoff,
    /// When the next heartbeat is due.
    next_at: Instant,
    /// Whether the backend has been sent the goodbye since the last heartbeat.
    is_told: bool,
    /// Whether a record that announces the goodbye exists.
    is_drained: bool,
}

impl Lease<'_> {
    /// Waits until a heartbeat is due, or is needed because the registration is gone.
    async fn due(&mut self) {
        loop {
            if !self.state.is_wanted() {
                self.starting.succeeded();
                // Another process has the id. The task is woken when that registration is gone.
                self.state.own_gone.notified().await;
                self.next_at = Instant::now() + self.pause_after_replacement();
                continue;
            }
            tokio::select! {
                biased;
                () = sleep_until(self.next_at) => return,
                () = self.state.own_gone.notified() => {}
            }
            let repair = Instant::now() + up_to(self.repair());
            sleep_until(repair.min(self.next_at)).await;
            if self.state.own_is_gone() {
                return;
            }
        }
    }

    /// Sends a heartbeat; returns the request that arrived meanwhile.
    async fn beat_unless<T>(&mut self, request: impl Future<Output = T>) -> Option<T> {
        if !self.state.is_wanted() {
            return None;
        }
        let latest = Instant::now() + self.attempt();
        let mut beat = pin!(self.beat());
        tokio::select! {
            biased;
            _ = &mut beat => None,
            request = request => {
                // A renewal that arrived after the goodbye would undo it.
                let _ = timeout_at(latest, beat).await;
                Some(request)
            }
        }
    }

    /// Makes the backend agree with what the client wants, and answers each caller within the bound of a call
    /// after it has asked. Another call may have been under way when it asked.
    async fn answer(&mut self, mut waiting: VecDeque<Request>) {
        let (bound, driver) = (self.state.settings.timeout, self.driver.name());
        let is_wanted = self.state.is_wanted();
        // Nothing is given up before the last of them has had its time.
        let asked_last = waiting.back().map_or_else(Instant::now, |request| request.asked_at);
        let mut agreed = pin!(async {
            match is_wanted {
                true => self.beat().await,
                false => self.goodbye(asked_last + bound).await,
            }
        });
        let result = loop {
            let overdue_at = waiting.front().map(|request| request.asked_at + bound);
            tokio::select! {
                biased;
                result = &mut agreed => break result,
                () = until(overdue_at) => {
                    let operation = if is_wanted { "register" } else { "deregister" };
                    if let Some(request) = waiting.pop_front() {
                        request.answer(Err(Error::unanswered(bound).at(driver, operation)));
                    }
                }
            }
        };
        for request in waiting {
            request.answer(result.clone());
        }
    }

    /// Sends one heartbeat, which leaves time for two more while a lease runs.
    async fn beat(&mut self) -> Result<()> {
        let Some(own) = self.state.own() else { return Ok(()) };
        if self.is_drained {
            self.take_back_the_announcement().await;
        }
        let ttl = self.state.settings.lease_ttl;
        let bound = match self.state.lease_runs() {
            true if Rule::HeartbeatsAreBounded.holds() => ttl / 5,
            true => self.state.settings.timeout,
            // With the pause before the next attempt this is less than the half lease for which
            // others keep an instance that is missing.
            false if self.state.was_registered() => ttl * 3 / 10,
            false => (ttl / 3).max(Duration::from_secs(1)),
        };
        let bound = bound.min(self.state.settings.timeout);
        let sent_at = Instant::now();
        self.is_told = false;
        let result = call(self.driver, "register", bound, || self.driver.register(&own, ttl)).await;
        self.next_at = match &result {
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
        result
    }

    /// Deregisters, unless that was done: once at least, and with retries until the deadline.
    async fn goodbye(&mut self, deadline: Instant) -> Result<()> {
        // A registration of another process under this id is not to be removed by this one.
        let result = match self.is_told || self.state.own_is_taken() {
            true => Ok(()),
            false => {
                if self.state.has_late_hearers() && self.state.was_registered() {
                    self.announce().await;
                }
                // A heartbeat before it, or the announcement, may have used up the time of whoever asked.
                let deadline = deadline.max(Instant::now() + self.attempt());
                self.deregister(deadline).await
            }
        };
        self.is_told = result.is_ok();
        self.state.has_left(self.id, &result);
        result
    }

    /// Announces the goodbye to clients that poll.
    ///
    /// A list that lacks an instance says nothing of the reason, so such clients would keep the instance. A
    /// list that contains a drain of it does say so; the drain outlasts the next read of every client.
    async fn announce(&mut self) {
        let looks = 2 * self.state.settings.refresh_interval;
        let ttl = looks.clamp(Duration::from_secs(2), Duration::from_secs(86_400));
        let drain = Instance::drain_of(self.id);
        self.is_drained = true;
        let announced =
            call(self.driver, "register", self.attempt(), || self.driver.register(&drain, ttl))
                .await;
        if let Err(error) = announced {
            debug!(%error, "the goodbye is not announced");
        }
    }

    async fn take_back_the_announcement(&mut self) {
        let id = Instance::drain_of(self.id).id().clone();
        let taken_back =
            call(self.driver, "deregister", self.attempt(), || self.driver.deregister(&id)).await;
        self.is_drained = taken_back.is_err();
    }

    async fn deregister(&self, deadline: Instant) -> Result<()> {
        let driver = self.driver.name();
        let mut backoff = Backoff::new(self.attempt());
        let mut last;
        let result = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let bound = self.attempt().min(left);
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

    /// The longest wait of a client before it repairs its registration, so that not all clients do so at
    /// once.
    fn repair(&self) -> Duration {
        let ttl = self.state.settings.lease_ttl;
        // Others drop an instance half a second after its lease has ended.
        let most = if self.state.own_has_expired() { grace(ttl) / 3 } else { REPAIR.min(ttl / 10) };
        // Only two processes share an id, so there is no herd to spread.
        if self.state.own_is_taken() { most / 10 } else { most }
    }

    fn pause_after_replacement(&self) -> Duration {
        match self.state.own_is_taken() {
            // The other process has written its record again meanwhile.
            true => up_to(self.repair()),
            // A heartbeat that was under way has overwritten the other process's record, which that
            // process restores soon.
            false => jittered(self.state.settings.lease_ttl / 3),
        }
    }

    /// How long one attempt to leave may take, so that there is time for a second and a third.
    fn attempt(&self) -> Duration {
        self.state.settings.timeout / 3
    }
}
