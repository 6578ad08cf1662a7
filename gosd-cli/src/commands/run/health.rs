//! Keeps the registration in step with whether the command serves.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt;
use gosd::{Client, Instance, Registration, Result, limits};
use tokio::time::{Instant, sleep};

use super::probe::Probe;
use crate::backend::Backend;
use crate::context::Context;
use crate::failure::Failure;

/// The shortest interval of checks while the service is not ready.
const SOON: Duration = Duration::from_millis(250);
/// The service is withdrawn after this many failed checks in a row, because one answer may be lost.
const FAILURES: u32 = 2;
/// After this time a message says which answer is awaited.
const LONG: Duration = Duration::from_secs(10);

pub(super) struct Health<'a> {
    pub(super) context: &'a Context,
    pub(super) backend: &'a Backend,
    pub(super) instance: &'a Instance,
    pub(super) probe: Probe,
    /// The interval of checks while the service is ready.
    pub(super) every: Duration,
    /// Whether to remove instances that a predecessor left at the same URL.
    pub(super) takes_over: bool,
}

impl Health<'_> {
    /// Runs until it is dropped, or until the database refuses the first registration. Later failures of the
    /// database do not end a service that is known.
    pub(super) async fn keep(&self, client: &Client) -> Failure {
        let mut is_first = true;
        loop {
            self.until_it_serves().await;
            let registered = client.set_ready(true).await;
            if let Err(error) = &registered
                && is_first
                && !error.is_retryable()
            {
                return error.clone().into();
            }
            is_first = false;
            tokio::select! {
                () = self.until_it_stops() => {}
                never = self.tell(client, registered) => match never {},
            }
            let asked = self.probe.describe();
            self.context.note(format!("withdrawn: {asked} does not answer"));
            // A failure has been logged, and then the lease ends the registration.
            let _ = client.set_ready(false).await;
        }
    }

    /// Says when the instance is registered, which may be some time after it serves; then waits for ever.
    async fn tell(&self, client: &Client, registered: Result<()>) -> Infallible {
        let (id, name) = (self.instance.id(), self.backend.name());
        if let Err(error) = registered {
            self.context.note(format!("{id} serves, and is not registered yet: {error}"));
            until_registered(client).await;
        }
        let url = limits::shown(self.instance.url());
        self.context.note(format!("serving: {id} is registered at {url} in {name}"));
        if self.takes_over {
            self.take_over().await;
        }
        pending().await
    }

    async fn until_it_serves(&self) {
        let began = Instant::now();
        let mut is_told = false;
        while !self.probe.answers().await {
            if !is_told && began.elapsed() > LONG {
                is_told = true;
                let asked = self.probe.describe();
                self.context.note(format!(
                    "not registered yet: waiting for {asked} to answer; does the command listen on \
                     that address, and not on loopback alone?"
                ));
            }
            sleep(SOON.min(self.every)).await;
        }
    }

    async fn until_it_stops(&self) {
        let mut failures = 0;
        while failures < FAILURES {
            sleep(self.every).await;
            failures = if self.probe.answers().await { 0 } else { failures + 1 };
        }
    }

    /// Removes the instances of an earlier process at this URL that was killed and so sent no goodbye. Where
    /// this fails, the lease ends them.
    async fn take_over(&self) {
        let Ok(listing) = self.backend.list().await else { return };
        let own = self.instance;
        let is_earlier = |it: &&Instance| it.url() == own.url() && it.id() < own.id();
        for earlier in listing.of(Some(own.service())).filter(is_earlier) {
            let _ = self.backend.deregister(earlier.id()).await;
        }
    }
}

/// Waits for the registration, which the client tries again until it succeeds; for ever if the client ends
/// before.
async fn until_registered(client: &Client) {
    let mut changes = client.status_changes();
    while !matches!(client.status().registration, Registration::Registered) {
        if changes.next().await.is_none() {
            return pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use gosd::Memory;

    use super::*;

    #[tokio::test]
    async fn a_client_that_ends_before_it_is_registered_is_waited_for_without_a_loop() {
        let builder = Client::builder(Arc::new(Memory::new())).register("mail", "http://10.0.0.7");
        let client = builder.start_unready().start().await.unwrap();
        client.shutdown().await.unwrap();
        // A second look, because a stream that has ended must not be polled again.
        let mut waits = Box::pin(until_registered(&client));
        for _ in 0..2 {
            assert!((&mut waits).now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn a_registration_that_succeeds_late_is_noticed() {
        let builder = Client::builder(Arc::new(Memory::new())).register("mail", "http://10.0.0.7");
        let client = builder.start_unready().start().await.unwrap();
        let mut waits = Box::pin(until_registered(&client));
        assert!((&mut waits).now_or_never().is_none());
        client.set_ready(true).await.unwrap();
        waits.await;
    }
}
