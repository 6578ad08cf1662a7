//! The watches of a client: one, and for a moment two, when the client is asked for more services than the
//! first one is about.
//!
//! The second watch is about all services that are asked for. The first goes on until the `Reset` of the
//! second has come, which then takes its place. So what was watched before is watched all the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::time::Instant;
use tracing::debug;

use super::until;
use crate::client::asked::Asked;
use crate::follow::{Follow, Followed};
use crate::pace::Backoff;
use crate::registry::Scope;
use crate::{Driver, Error, Event};

/// How long a new service waits at most for others that are asked for together with it. While services go on
/// to be added, each pause is twice as long as the one before, up to the longest.
const SHORTEST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(1);
/// After a time without a new service the pauses are short again.
const CALM: Duration = Duration::from_secs(10);
/// A second watch that failed so often takes the first one's place all the same, since what is asked for can
/// be had in no other way: a server that allows no further watch may do so once the first has gone.
const FAILURES: u32 = 3;

pub(super) struct Watches<'a> {
    driver: &'a dyn Driver,
    asked: &'a Asked,
    lease: Duration,
    /// `None` if the driver has no watch.
    first: Option<Watch<'a>>,
    second: Option<Watch<'a>>,
    failures: u32,
    /// When the second watch is opened.
    opens_at: Option<Instant>,
    opened_at: Option<Instant>,
    pauses: Backoff,
}

/// A watch, and the services that its stream was opened for.
struct Watch<'a> {
    follow: Follow<'a>,
    scope: Arc<Mutex<Arc<Scope>>>,
}

/// What has come of the watch.
pub(super) enum Watched {
    /// Events that are about these services. With `is_in_part`, a failure follows them.
    Events {
        events: Vec<Event>,
        scope: Arc<Scope>,
        is_in_part: bool,
    },
    Lost(Error),
    /// More services are asked for than before.
    Asked,
}

impl<'a> Watches<'a> {
    pub(super) fn new(driver: &'a dyn Driver, asked: &'a Asked, lease: Duration) -> Self {
        let first = Watch::open(driver, asked, lease);
        Self {
            driver,
            asked,
            lease,
            first,
            second: None,
            failures: 0,
            opens_at: None,
            opened_at: None,
            pauses: Backoff::between(SHORTEST, LONGEST),
        }
    }

    /// Whether the driver has no watch.
    pub(super) fn is_polled(&self) -> bool {
        self.first.is_none()
    }

    /// Waits for the next events or failure; for ever, if the driver has no watch. Cancel-safe.
    pub(super) async fn next(&mut self) -> Watched {
        loop {
            self.open_second_if_due();
            let (Some(first), asked) = (&mut self.first, self.asked) else {
                return std::future::pending().await;
            };
            let second = self.second.as_mut().map(|second| second.follow.next());
            tokio::select! {
                // Always in this order, so that a seed of the simulation gives the same run again.
                biased;
                followed = first.follow.next() => return self.hear_first(followed),
                Some(followed) = OptionFuture::from(second) => {
                    if let Some(watched) = self.hear_second(followed) {
                        return watched;
                    }
                }
                () = asked.grown() => return Watched::Asked,
                () = until(self.opens_at) => {}
            }
        }
    }

    fn hear_first(&mut self, followed: Followed) -> Watched {
        let Some(first) = &mut self.first else { return Watched::Lost(Error::panicked()) };
        match followed {
            Followed::Events(events) => {
                let is_in_part = first.follow.has_failed();
                Watched::Events { events, scope: first.scope(), is_in_part }
            }
            Followed::Lost(error) => {
                if let Some(second) = self.second.take() {
                    *first = second;
                } else if first.lacks(self.asked) {
                    first.follow.open_anew();
                }
                Watched::Lost(error)
            }
        }
    }

    /// What comes of the second watch; `None` while the first one goes on.
    fn hear_second(&mut self, followed: Followed) -> Option<Watched> {
        let second = self.second.as_mut()?;
        match followed {
            // A failure follows, after which the stream is opened anew and begins with a `Reset`.
            Followed::Events(_) if second.follow.has_failed() => None,
            Followed::Events(mut events) => {
                let reset = events.iter().position(|event| matches!(event, Event::Reset(_)))?;
                events.drain(..reset);
                let scope = second.scope();
                self.first = self.second.take();
                Some(Watched::Events { events, scope, is_in_part: false })
            }
            Followed::Lost(error) => {
                debug!(%error, "a watch of more services");
                second.follow.open_anew();
                self.failures += 1;
                if self.failures < FAILURES {
                    return None;
                }
                self.first = self.second.take();
                Some(Watched::Lost(error))
            }
        }
    }

    /// Opens the second watch if the first is up, and more has been asked for long enough.
    fn open_second_if_due(&mut self) {
        let Some(first) = &self.first else { return };
        if self.second.is_some() || !first.follow.is_up() || !first.lacks(self.asked) {
            self.opens_at = None;
            return;
        }
        let now = Instant::now();
        match self.opens_at {
            None => {
                if self.opened_at.is_some_and(|at| at + CALM <= now) {
                    self.pauses.reset();
                }
                self.opens_at = Some(now + self.pauses.pause());
            }
            Some(at) if at <= now => {
                (self.opens_at, self.opened_at, self.failures) = (None, Some(now), 0);
                self.second = Watch::open(self.driver, self.asked, self.lease);
            }
            Some(_) => {}
        }
    }
}

impl<'a> Watch<'a> {
    /// A watch of what is asked for; `None` if the driver has no watch.
    fn open(driver: &'a dyn Driver, asked: &'a Asked, lease: Duration) -> Option<Self> {
        let scope = Arc::new(Mutex::new(asked.scope()));
        let opened = Arc::clone(&scope);
        let open = move || {
            let mut scope = asked.scope();
            let some = match &*scope {
                Scope::Everything => None,
                Scope::Only(services) => driver.watch_services(services),
            };
            let stream = some.or_else(|| {
                // If not all services were asked for, the driver knows no other way than to watch all.
                asked.ask_for_everything();
                scope = asked.scope();
                driver.watch()
            });
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = scope;
            stream
        };
        let follow = Follow::watches(driver.name(), open, lease)?;
        Some(Self { follow, scope })
    }

    /// Whether the client was asked for more services than this watch is about.
    fn lacks(&self, asked: &Asked) -> bool {
        let (scope, asked) = (self.scope(), asked.scope());
        !Arc::ptr_eq(&scope, &asked) && scope != asked
    }

    fn scope(&self) -> Arc<Scope> {
        Arc::clone(&self.scope.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
