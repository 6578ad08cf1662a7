//! What the state knows of the own registration: heartbeats, and the goodbye.

use tokio::time::Instant;

use super::state::State;
use super::tell::News;
use crate::registry::Effects;
use crate::{Error, Instance, Registration, Result};

impl State {
    /// Notes a heartbeat that was answered, unless the client has left in the meantime.
    pub(crate) fn registered(&self, instance: &Instance, sent_at: Instant) {
        self.step(|core, now| {
            if core.closed || !core.status.registration.is_wanted() {
                return ((), Effects::default());
            }
            core.renewed_at = Some(sent_at);
            let status = Registration::Registered;
            if core.set_status(|it| it.registration = status) {
                core.outbox.push(News::Registered(instance.id().clone()));
            }
            ((), core.registry.registered(instance, now))
        });
    }

    pub(crate) fn registration_failed(&self, error: &Error) {
        self.step(|core, now| {
            core.registry.registration_failed(now);
            let since = match &core.status.registration {
                Registration::Retrying { since, .. } | Registration::Standalone { since, .. } => {
                    *since
                }
                _ => now.into_std(),
            };
            let error = error.clone();
            let failing = match &core.status.registration {
                Registration::Registered | Registration::Retrying { .. } => {
                    Registration::Retrying { since, error: error.clone() }
                }
                Registration::Standalone { .. } => {
                    Registration::Standalone { since, error: error.clone() }
                }
                Registration::Left | Registration::DiscoverOnly => {
                    return ((), Effects::default());
                }
            };
            if core.set_status(|it| it.registration = failing) {
                core.outbox.push(News::RegistrationFails(error));
            }
            ((), Effects::default())
        });
    }

    /// Whether the lease that the last heartbeat began is still running.
    pub(crate) fn lease_runs(&self) -> bool {
        let renewed_at = self.lock().renewed_at;
        renewed_at.is_some_and(|at| at.elapsed() < self.settings.lease_ttl)
    }

    /// Whether a heartbeat is needed at once, because the last one has come to nothing.
    pub(crate) fn own_is_gone(&self) -> bool {
        self.lock().registry.own_is_gone()
    }

    /// Marks the client as left: from now on nothing registers it.
    pub(crate) fn disown(&self) {
        self.step(|core, now| {
            core.registry.disown(now);
            core.set_status(|status| status.registration = Registration::Left);
            ((), Effects::default())
        });
    }

    /// Notes how the goodbye went.
    pub(crate) fn has_left(&self, instance: &Instance, result: &Result<()>) {
        self.lock().goodbye = Some(result.clone());
        if result.is_ok() {
            self.deregistered(instance.id());
        }
    }

    pub(crate) fn goodbye(&self) -> Option<Result<()>> {
        self.lock().goodbye.clone()
    }
}
