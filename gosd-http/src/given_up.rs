//! Registrations whose callers stopped waiting: each runs on to its answer, so that a goodbye, and a registration with
//! other contents, comes after it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use gosd_core::{BoxFuture, InstanceId, Result};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a request goes on without its caller, and a goodbye waits for it: long enough for a server
/// that answers at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a task may need to close the connection of a request that was dropped. The closed connection
/// shows a server that was frozen that nobody waits for the request.
const CLOSING: Duration = Duration::from_millis(100);

/// The registrations that run on; dropping this ends them.
///
/// A connection that is closed does not take back what was sent on it: the server reads its sockets in
/// any order, and a registration that is read after the goodbye of the same instance would bring it back
/// for a lease. Only the answer shows that the server has handled it.
pub(crate) struct GivenUp {
    tasks: Mutex<JoinSet<()>>,
    running: watch::Sender<Vec<Registration>>,
}

/// An instance and the body of the request that registers it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) id: InstanceId,
    pub(crate) body: Arc<str>,
}

impl GivenUp {
    pub(crate) fn new() -> Self {
        Self { tasks: Mutex::default(), running: watch::Sender::default() }
    }

    /// Wraps a call so that it runs on for a while when it is dropped; `on_drop` is called then.
    pub(crate) async fn finish(
        &self,
        registration: Registration,
        call: BoxFuture<'static, Result<()>>,
        on_drop: impl FnOnce() + Send + Unpin,
    ) -> Result<()> {
        let (begun, registration) = (None, Some(registration));
        let (call, on_drop) = (Some(call), Some(on_drop));
        Finishing { given_up: self, registration, begun, call, on_drop }.await
    }

    /// Waits for the registrations of an instance that were given up before this call.
    pub(crate) async fn settled(&self, id: &InstanceId) {
        self.none_runs(PATIENCE + 2 * CLOSING, |one| one.id == *id).await;
    }

    /// Waits for the registrations of the same instance with another body that were given up before this call.
    ///
    /// A heartbeat has the body of the one before it, and waits for nothing: whichever the server reads last,
    /// the record is the same. A client of gosd gives a heartbeat a fifth of its lease; this takes three quarters
    /// of that at most, so that a short lease is renewed in any case. If the old body is written after all, the
    /// next heartbeat restores the new one.
    pub(crate) async fn others_settled(&self, registration: &Registration, lease: Duration) {
        let time = (PATIENCE + 2 * CLOSING).min(lease * 3 / 20);
        let is_other = |one: &Registration| one.id == registration.id && one != registration;
        self.none_runs(time, is_other).await;
    }

    async fn none_runs(&self, time: Duration, is_meant: impl Fn(&Registration) -> bool) {
        let mut running = self.running.subscribe();
        // After the longest time each of them has ended, whatever was given up since.
        let _ = timeout(time, running.wait_for(|all| !all.iter().any(&is_meant))).await;
    }

    fn go_on(
        &self,
        registration: Registration,
        call: BoxFuture<'static, Result<()>>,
        runtime: &Handle,
    ) {
        let counted = Counted::new(self.running.clone(), registration);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let task = async move {
            let _counted = counted;
            // No caller is left who would want the result.
            if timeout(PATIENCE, call).await.is_err() {
                sleep(CLOSING).await;
            }
        };
        tasks.spawn_on(task, runtime);
    }
}

/// A registration that runs on.
struct Counted {
    running: watch::Sender<Vec<Registration>>,
    registration: Registration,
}

impl Counted {
    fn new(running: watch::Sender<Vec<Registration>>, registration: Registration) -> Self {
        running.send_modify(|all| all.push(registration.clone()));
        Self { running, registration }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.running.send_modify(|all| {
            // Several may be equal, of which one ends here.
            if let Some(one) = all.iter().position(|one| *one == self.registration) {
                all.swap_remove(one);
            }
        });
    }
}

/// A call until it is complete or dropped.
struct Finishing<'a, D: FnOnce()> {
    given_up: &'a GivenUp,
    registration: Option<Registration>,
    /// The runtime on which it was first polled; from then on the request may have been sent.
    begun: Option<Handle>,
    call: Option<BoxFuture<'static, Result<()>>>,
    on_drop: Option<D>,
}

impl<D: FnOnce() + Unpin> Future for Finishing<'_, D> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.begun.is_none() {
            self.begun = Handle::try_current().ok();
        }
        let Some(call) = &mut self.call else { return Poll::Pending };
        let outcome = std::task::ready!(call.as_mut().poll(cx));
        self.call = None;
        Poll::Ready(outcome)
    }
}

impl<D: FnOnce()> Drop for Finishing<'_, D> {
    fn drop(&mut self) {
        let (call, registration) = (self.call.take(), self.registration.take());
        if let (Some(runtime), Some(call), Some(registration)) = (&self.begun, call, registration) {
            if let Some(on_drop) = self.on_drop.take() {
                on_drop();
            }
            self.given_up.go_on(registration, call, runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn registration(id: &str, body: &str) -> Registration {
        Registration { id: id.into(), body: body.into() }
    }

    /// A registration that was given up, of which no answer comes.
    async fn give_up(given_up: &GivenUp, registration: Registration) {
        let call = given_up.finish(registration, Box::pin(pending()), || {});
        timeout(Duration::from_millis(1), call).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_registrations_of_others_or_with_the_same_body() {
        let given_up = GivenUp::new();
        for _ in 0..2 {
            give_up(&given_up, registration("a", "old")).await;
        }
        let begun = Instant::now();
        given_up.settled(&"b".into()).await;
        given_up.others_settled(&registration("b", "new"), LEASE).await;
        given_up.others_settled(&registration("a", "old"), LEASE).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        given_up.others_settled(&registration("a", "new"), LEASE / 5).await;
        assert_eq!(begun.elapsed(), LEASE * 3 / 100, "a short lease has no time for more");
        given_up.others_settled(&registration("a", "new"), LEASE).await;
        assert!((PATIENCE..PATIENCE + 2 * CLOSING).contains(&begun.elapsed()));
        given_up.settled(&"a".into()).await;
        assert!(begun.elapsed() < PATIENCE + 2 * CLOSING);
        assert!(given_up.running.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_goodbye_waits_for_each_registration_of_its_instance() {
        let given_up = GivenUp::new();
        give_up(&given_up, registration("a", "old")).await;
        sleep(PATIENCE / 2).await;
        give_up(&given_up, registration("a", "old")).await;
        let begun = Instant::now();
        given_up.settled(&"a".into()).await;
        assert!((PATIENCE..PATIENCE + 2 * CLOSING).contains(&begun.elapsed()));
    }
}
