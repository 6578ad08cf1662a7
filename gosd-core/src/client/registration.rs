//! The state of the client's own registration: heartbeats, and the goodbye.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::state::{Core, State};
use super::tell::News;
use crate::registry::Effects;
use crate::{Error, Instance, InstanceId, Registration, Result};

impl State {
    /// Records a heartbeat that was answered, unless the client has left in the meantime.
    pub(crate) fn registered(&self, instance: &Instance, sent_at: Instant) {
        self.step(|core, now| {
            core.tally.heartbeats.count(true);
            if core.closed || !core.status.registration.is_wanted() {
                return ((), Effects::default());
            }
            core.renewed_at = Some(sent_at);
            if core.contest == Contest::Lost {
                core.contest = Contest::TakenBack;
            }
            core.registered_since.get_or_insert(now);
            core.goodbye = None;
            let status = Registration::Registered;
            if core.set_status(|it| it.registration = status) {
                core.outbox.push(News::Registered(instance.id().clone()));
            }
            ((), core.registry.registered(instance, now))
        });
    }

    pub(crate) fn registration_failed(&self, error: &Error) {
        self.step(|core, now| {
            core.tally.heartbeats.count(false);
            let error = error.clone();
            let failing = match &core.status.registration {
                Registration::Registered => {
                    Registration::Retrying { since: now.into_std(), error: error.clone() }
                }
                Registration::Retrying { since: before, .. } => {
                    Registration::Retrying { since: *before, error: error.clone() }
                }
                Registration::Standalone { since: before, .. } => {
                    Registration::Standalone { since: *before, error: error.clone() }
                }
                Registration::Withdrawn
                | Registration::Replaced
                | Registration::Left
                | Registration::DiscoverOnly => {
                    return ((), Effects::default());
                }
            };
            core.registry.registration_failed(now);
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

    /// Whether a heartbeat is needed at once, because the record is gone or another process's.
    pub(crate) fn own_is_gone(&self) -> bool {
        let core = self.lock();
        core.registry.own_is_gone() || core.own_is_taken()
    }

    /// Whether the own registration is gone because its lease is.
    pub(crate) fn own_has_expired(&self) -> bool {
        self.lock().registry.own_has_expired()
    }

    /// Whether the backend holds another process's record under the own id.
    pub(crate) fn own_is_taken(&self) -> bool {
        self.lock().own_is_taken()
    }

    /// Whether others may have found the client since it last wanted to be found.
    pub(crate) fn was_registered(&self) -> bool {
        self.lock().registered_since.is_some()
    }

    /// Whether the client wants to be found by others.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().status.registration.is_wanted()
    }

    /// What the client registers, if it registers anything.
    pub(crate) fn own(&self) -> Option<Instance> {
        self.lock().own.clone()
    }

    /// Changes the metadata of the own instance; the next heartbeat writes it.
    pub(crate) fn set_metadata(&self, metadata: BTreeMap<String, String>) -> Result<()> {
        self.step(|core, _| {
            let Some(own) = &core.own else {
                return (Err(nothing_registered()), Effects::default());
            };
            if core.closed || matches!(core.status.registration, Registration::Left) {
                return (Err(Error::closed("set_metadata")), Effects::default());
            }
            let url = own.url().to_owned();
            let changed = Instance::from_parts(own.id().clone(), own.service(), &url, metadata);
            let result = changed.check().map(|()| core.own = Some(changed));
            (result, Effects::default())
        })
    }

    /// From now on nothing registers the client, for good.
    pub(crate) fn leave(&self) {
        self.step(|core, now| {
            if !matches!(core.status.registration, Registration::DiscoverOnly) {
                core.registry.disown(now);
                core.set_status(|status| status.registration = Registration::Left);
            }
            ((), Effects::default())
        });
    }

    /// From now on nothing registers the client, until it wants to be found again.
    pub(crate) fn withdraw(&self) -> Result<()> {
        self.step(|core, now| {
            let result = match core.status.registration {
                Registration::DiscoverOnly => Err(nothing_registered()),
                Registration::Left => Ok(()),
                _ => {
                    core.registry.disown(now);
                    core.set_status(|status| status.registration = Registration::Withdrawn);
                    Ok(())
                }
            };
            (result, Effects::default())
        })
    }

    /// From now on, the client wants to be found again.
    pub(crate) fn want(&self) -> Result<()> {
        self.step(|core, now| {
            let result = match core.status.registration {
                Registration::DiscoverOnly => Err(nothing_registered()),
                _ if core.closed => Err(Error::closed("set_ready")),
                Registration::Left => Err(Error::closed("set_ready")),
                Registration::Withdrawn => {
                    let registration = Registration::beginning(now.into_std());
                    core.goodbye = None;
                    core.set_status(|status| status.registration = registration);
                    Ok(())
                }
                _ => Ok(()),
            };
            (result, Effects::default())
        })
    }

    /// Records the result of the goodbye.
    pub(crate) fn has_left(&self, id: &InstanceId, result: &Result<()>) {
        self.step(|core, now| {
            core.goodbye = Some(result.clone());
            if result.is_ok() && core.registered_since.is_some() {
                core.left_at = Some(now);
            }
            (core.renewed_at, core.registered_since) = (None, None);
            core.contest = Contest::None;
            // What another process has registered under this id stays in the view.
            let is_gone = result.is_ok() && !core.own_is_taken();
            let gone = is_gone.then(|| core.registry.deregistered(id));
            ((), gone.unwrap_or_default())
        });
    }

    /// The result of the last goodbye, if there was one since the client was last registered.
    pub(crate) fn goodbye(&self) -> Option<Result<()>> {
        self.lock().goodbye.clone()
    }
}

/// A contest of two processes for one id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contest {
    None,
    /// The other has registered last.
    Lost,
    /// This one has registered again after that.
    TakenBack,
}

impl Core {
    fn own_is_taken(&self) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|own| self.registry.url_of(own.id()).is_some_and(|seen| seen != own.url()))
    }

    /// Of two processes with one id, the one that registered later keeps it.
    ///
    /// The other process gives way, and sends no goodbye for the id. The later one takes the id back from a
    /// heartbeat of the other that was under way, and does so once. If both have just registered, the earlier
    /// one is the first that would have to do so again, and gives way.
    ///
    /// Where changes are polled, neither process sees each time that the id changes hands. Both go on for a
    /// lease, which ends earlier for the earlier one. If that one never sees the other in this time, it is
    /// chance who gives way.
    pub(super) fn note_replacement(&mut self, now: Instant, lease: Duration, is_polled: bool) {
        // A heartbeat can be under way for this long.
        let after = if is_polled { lease } else { lease / 5 };
        let is_taken = self.own_is_taken();
        match &self.status.registration {
            Registration::Replaced if !is_taken => {
                let registration = Registration::beginning(now.into_std());
                self.contest = Contest::None;
                self.set_status(|status| status.registration = registration);
                self.outbox.push(News::OwnGone);
            }
            registration if is_taken && registration.is_wanted() => {
                let since = self.registered_since.unwrap_or(now);
                let gives_way = self.contest == Contest::TakenBack && !is_polled;
                if gives_way || now.duration_since(since) >= after {
                    // Without heartbeats the client no longer knows whether the backend accepts writes.
                    self.registry.disown(now);
                    self.set_status(|status| status.registration = Registration::Replaced);
                    self.outbox.push(News::Replaced);
                } else {
                    if self.registered_since.is_some() {
                        self.contest = Contest::Lost;
                    }
                    // Heartbeats that fail are tried again anyway, with pauses.
                    if matches!(registration, Registration::Registered) {
                        self.outbox.push(News::OwnGone);
                    }
                }
            }
            _ => {}
        }
    }
}

fn nothing_registered() -> Error {
    Error::config("this client registers nothing: build it with `register`")
}
