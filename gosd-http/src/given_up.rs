//! Registrations whose callers stopped waiting: each runs on to its answer, so that a goodbye comes after it.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use gosd_core::{BoxFuture, Result};
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
    count: watch::Sender<usize>,
}

impl GivenUp {
    pub(crate) fn new() -> Self {
        Self { tasks: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// Wraps a call so that it runs on for a while when it is dropped; `on_drop` is called then.
    pub(crate) async fn finish(
        &self,
        call: BoxFuture<'static, Result<()>>,
        on_drop: impl FnOnce() + Send + Unpin,
    ) -> Result<()> {
        Finishing { given_up: self, begun: None, call: Some(call), on_drop: Some(on_drop) }.await
    }

    /// Waits for the registrations that were given up before this call.
    pub(crate) async fn settled(&self) {
        let mut count = self.count.subscribe();
        // After that time each of them has ended, whatever was given up since.
        let _ = timeout(PATIENCE + 2 * CLOSING, count.wait_for(|count| *count == 0)).await;
    }

    fn go_on(&self, call: BoxFuture<'static, Result<()>>, runtime: &Handle) {
        let counted = Counted::new(self.count.clone());
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
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A call until it is complete or dropped.
struct Finishing<'a, D: FnOnce()> {
    given_up: &'a GivenUp,
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
        if let (Some(runtime), Some(call)) = (&self.begun, self.call.take()) {
            if let Some(on_drop) = self.on_drop.take() {
                on_drop();
            }
            self.given_up.go_on(call, runtime);
        }
    }
}
