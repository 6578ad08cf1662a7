//! The background task that keeps the registration: heartbeats, repair, and the goodbye.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::guard::caught;
use super::start::Starting;
use super::state::State;
use super::sync::Reply;
use crate::pace::{Backoff, jittered, up_to};
use crate::{Error, ErrorKind, Instance, Result};

/// How long at most a client waits before it repairs its registration, so that not all do at once.
const REPAIR: Duration = Duration::from_secs(1);

/// Renews the registration until it is asked to leave, and says goodbye as often as it is asked.
pub(super) async fn run(
    state: Arc<State>,
    instance: Instance,
    mut leave: mpsc::UnboundedReceiver<Reply>,
    mut starting: Starting,
) {
    let ttl = state.settings.lease_ttl;
    let mut backoff = Backoff::new(ttl / 3);
    let mut request = loop {
        // Never cut short: a renewal that arrives after the goodbye would undo it.
        let pause = match state.call("register", state.driver.register(&instance, ttl)).await {
            Ok(()) => {
                state.registered(&instance);
                starting.succeeded();
                backoff.reset();
                jittered(ttl / 3)
            }
            Err(error) => {
                state.registration_failed(error.clone());
                starting.failed(error);
                backoff.pause()
            }
        };
        if starting.has_failed() {
            return;
        }
        tokio::select! {
            biased;
            request = leave.recv() => break request,
            () = due(&state, pause) => {}
        }
    };
    let mut has_left = false;
    while let Some(reply) = request {
        let result = if has_left { Ok(()) } else { goodbye(&state, &instance).await };
        has_left = result.is_ok();
        state.has_left(&instance, &result);
        // Whoever asked may have stopped waiting.
        let _ = reply.send(result);
        request = leave.recv().await;
    }
}

/// Waits until the next heartbeat is due: after the pause, or earlier if the registration is gone.
async fn due(state: &State, pause: Duration) {
    let mut pause = pin!(sleep(pause));
    loop {
        tokio::select! {
            () = &mut pause => return,
            () = state.own_gone.notified() => {
                sleep(up_to(REPAIR)).await;
                if state.own_is_gone() {
                    return;
                }
            }
        }
    }
}

/// Deregisters, again and again within the bound of one call.
async fn goodbye(state: &State, instance: &Instance) -> Result<()> {
    let driver = state.driver.name();
    let mut last = None;
    let attempts = async {
        let mut backoff = Backoff::new(state.settings.timeout);
        loop {
            match caught(state.driver.deregister(instance.id())).await {
                Ok(()) => break Ok(()),
                Err(error) if error.is_retryable() => last = Some(error),
                Err(error) => break Err(error),
            }
            sleep(backoff.pause()).await;
        }
    };
    let result = timeout(state.settings.timeout, attempts).await.unwrap_or_else(|_| {
        let ttl = state.settings.lease_ttl;
        let message = format!("the backend could not be told; the lease runs out within {ttl:?}");
        let error = Error::new(ErrorKind::Timeout, message);
        Err(match last {
            Some(last) => error.caused_by(last),
            None => error,
        })
    });
    let result = result.map_err(|error| error.at(driver, "deregister"));
    match &result {
        Ok(()) => info!(driver, id = %instance.id(), "left"),
        Err(error) => warn!(driver, %error, "left without a goodbye"),
    }
    result
}
