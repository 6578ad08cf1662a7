//! Publishes the effects of a step of the registry: to subscribers of `tracing`, streams, waiting lookups,
//! and the heartbeat.
//!
//! All of these are foreign code, which may call the client again. So none of it runs under the lock of the
//! state. A step leaves its news in the outbox, and a thread that finds no other one at work there publishes
//! them one by one, in the order of the steps.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::lookup::Lookups;
use super::state::{Progress, State};
use crate::{Change, Error, InstanceId, Status, View};

/// News to publish, and whether a thread is publishing them.
#[derive(Default)]
pub(super) struct Outbox {
    news: VecDeque<News>,
    is_open: bool,
}

/// One item of news.
pub(super) enum News {
    /// The view changed; the first of the changes led to this version.
    Changes(u64, Vec<Change>),
    /// The status has changed.
    Status(Status),
    /// The view's part of the status has changed to this.
    View(View),
    Registered(InstanceId),
    RegistrationFails(Error),
    /// The own registration has to be made again.
    OwnGone,
    /// The view is about further services, which a lookup may wait to know.
    KnowsMore,
    /// Another process has registered under the own id.
    Replaced,
    /// The client has been shut down, with this last status.
    Closed(Status),
}

impl Outbox {
    pub(super) fn push(&mut self, news: News) {
        self.news.push_back(news);
    }
}

/// Lets another thread take over, even if a subscriber panicked.
struct Teller<'a> {
    state: &'a State,
    is_done: bool,
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.state.lock().outbox.is_open = false;
        }
    }
}

impl State {
    /// Publishes the news in the outbox, unless another thread does so.
    pub(super) fn tell(&self) {
        {
            let outbox = &mut self.lock().outbox;
            if outbox.is_open || outbox.news.is_empty() {
                return;
            }
            outbox.is_open = true;
        }
        let mut teller = Teller { state: self, is_done: false };
        loop {
            let mut core = self.lock();
            let Some(news) = core.outbox.news.pop_front() else {
                // Under the same lock as the check, so that no news is left behind.
                core.outbox.is_open = false;
                teller.is_done = true;
                return;
            };
            drop(core);
            self.tell_one(news);
        }
    }

    fn tell_one(&self, news: News) {
        let driver = self.driver_name();
        match news {
            News::Changes(first, changes) => {
                self.wake_lookups(|lookups| {
                    let services = changes.iter().filter_map(|change| match change {
                        Change::Added(instance)
                        | Change::Updated(instance)
                        | Change::Readmitted(instance) => lookups.get(instance.service()),
                        _ => None,
                    });
                    services.cloned().collect()
                });
                for (version, change) in (first..).zip(changes) {
                    debug!(driver, ?change, "view");
                    // This fails only if nobody listens.
                    let _ = self.changes.send(Some((version, change)));
                }
            }
            News::Status(status) => {
                self.progress.send_modify(|progress| progress.status = status);
            }
            News::View(view) => {
                match view {
                    View::Stale { error, .. } => {
                        warn!(driver, %error, "contact lost; the last view is served on");
                    }
                    View::Fresh => info!(driver, "in contact"),
                    View::Unknown => {}
                }
                self.wake_lookups(Lookups::all);
            }
            News::Registered(id) => info!(driver, %id, "registered"),
            News::RegistrationFails(error) => {
                warn!(driver, %error, "the registration fails; it is retried until it succeeds");
            }
            News::OwnGone => {
                debug!(driver, "the own registration is looked after");
                self.own_gone.notify_one();
            }
            News::KnowsMore => self.wake_lookups(Lookups::all),
            News::Replaced => {
                warn!(driver, "another process has registered under this id: this one gives way");
            }
            News::Closed(status) => {
                self.progress.send_replace(Progress { status, closed: true });
                let _ = self.changes.send(None);
                self.wake_lookups(Lookups::all);
            }
        }
    }

    fn wake_lookups(&self, choose: impl FnOnce(&Lookups) -> Vec<Arc<Notify>>) {
        let chosen = choose(&self.lookups.lock().unwrap_or_else(PoisonError::into_inner));
        for lookup in chosen {
            lookup.notify_waiters();
        }
    }
}
