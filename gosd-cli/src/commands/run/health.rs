//! Keeps the registration in step with whether the command serves.

use std::time::Duration;

use gosd::{Client, Instance};
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
    pub(super) succeeds: bool,
}

impl Health<'_> {
    /// Runs until it is dropped, or until the database refuses the first registration. Later failures of the
    /// database do not end a service that is known.
    pub(super) async fn keep(&self, client: &Client) -> Failure {
        let mut is_first = true;
        loop {
            self.until_it_serves().await;
            if let Err(error) = client.set_ready(true).await
                && is_first
                && !error.is_retryable()
            {
                return error.into();
            }
            is_first = false;
            // A registration that got no answer is tried again until it succeeds.
            let (instance, name) = (self.instance, self.backend.name());
            let (id, url) = (instance.id(), instance.url());
            self.context.note(format!("serving: {id} is registered at {url} in {name}"));
            if self.succeeds {
                self.succeed().await;
            }
            self.until_it_stops().await;
            let asked = self.probe.describe();
            self.context.note(format!("withdrawn: {asked} does not answer"));
            // A failure has been logged, and then the lease ends the registration.
            let _ = client.set_ready(false).await;
        }
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
    async fn succeed(&self) {
        let Ok(listing) = self.backend.list().await else { return };
        let own = self.instance;
        let is_earlier = |it: &&Instance| it.url() == own.url() && it.id() < own.id();
        for earlier in listing.of(Some(own.service())).filter(is_earlier) {
            let _ = self.backend.deregister(earlier.id()).await;
        }
    }
}
