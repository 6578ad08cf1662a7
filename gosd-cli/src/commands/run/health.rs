//! Keeps the registration in line with whether the command serves.

use std::time::Duration;

use gosd::{Client, Instance};
use tokio::time::{Instant, sleep};

use super::probe::Probe;
use crate::backend::Backend;
use crate::context::Context;
use crate::failure::Failure;

/// How often a service that does not serve yet is asked, at least.
const SOON: Duration = Duration::from_millis(250);
/// So many times in a row it has to fail to be withdrawn: one answer may be lost.
const FAILURES: u32 = 2;
/// After so long it is told what is waited for.
const LONG: Duration = Duration::from_secs(10);

pub(super) struct Health<'a> {
    pub(super) context: &'a Context,
    pub(super) backend: &'a Backend,
    pub(super) instance: &'a Instance,
    pub(super) probe: Probe,
    /// How often a service that serves is asked.
    pub(super) every: Duration,
    /// Whether it takes the place of what was registered for it at its URL.
    pub(super) succeeds: bool,
}

impl Health<'_> {
    /// Until it is dropped, or the database refuses the first registration: a service that is known
    /// by then is not ended for a failure of the database.
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
            // What failed for want of an answer is tried again until it succeeds.
            let (instance, name) = (self.instance, self.backend.name());
            let (id, url) = (instance.id(), instance.url());
            self.context.note(format!("serving: {id} is registered at {url} in {name}"));
            if self.succeeds {
                self.succeed().await;
            }
            self.until_it_stops().await;
            let asked = self.probe.describe();
            self.context.note(format!("withdrawn: {asked} does not answer"));
            // Its failure has been logged, and the lease ends it.
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

    /// Removes what an earlier process registered here and did not take back, because it was killed;
    /// what fails is left to the lease.
    async fn succeed(&self) {
        let Ok(listing) = self.backend.list().await else { return };
        let own = self.instance;
        let is_earlier = |it: &&Instance| it.url() == own.url() && it.id() < own.id();
        for earlier in listing.of(Some(own.service())).filter(is_earlier) {
            let _ = self.backend.deregister(earlier.id()).await;
        }
    }
}
