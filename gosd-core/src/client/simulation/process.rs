//! A simulated process: its tasks run only while it runs, and the oracle checks each of their steps.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::world::World;
use super::{Number, SERVICE, number_of};
use crate::client::state::State;

thread_local! {
    /// The process whose task is being polled.
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

#[derive(Clone)]
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) number: Number,
}

/// A task of a process, which stands still and ends together with the process.
struct Confined {
    process: Process,
    /// The client, whose view is checked after each step.
    state: Option<Arc<State>>,
    task: BoxFuture<'static, ()>,
}

impl Process {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(Confined { process: self.clone(), state: None, task: task.boxed() });
    }
}

/// Makes a client's background task a task of the process that starts it. Without a simulation the task is
/// returned unchanged.
pub(in crate::client) fn confine(
    state: &Arc<State>,
    task: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, ()> {
    match CURRENT.with_borrow(Clone::clone) {
        Some(process) => {
            Confined { process, state: Some(Arc::clone(state)), task: task.boxed() }.boxed()
        }
        None => task.boxed(),
    }
}

/// What the clocks of the current process show; `None` without a simulation.
pub(in crate::client) fn clocks() -> Option<(std::time::Instant, SystemTime)> {
    let process = CURRENT.with_borrow(Clone::clone)?;
    let now = Instant::now();
    let ahead = process.world.lock().processes[process.number].clock_ahead;
    let passed = now - process.world.origin;
    Some((now.into_std(), SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30) + passed + ahead))
}

impl Future for Confined {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Process { world, number } = self.process.clone();
        {
            let process = &mut world.lock().processes[number];
            if process.is_dead {
                return Poll::Ready(());
            }
            if process.is_frozen {
                process.wakers.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        let before = CURRENT.replace(Some(self.process.clone()));
        let polled = self.task.as_mut().poll(context);
        CURRENT.set(before);
        if let Some(state) = &self.state {
            let view = state.directory.instances(SERVICE);
            let view = view.iter().map(|instance| number_of(instance.id())).collect();
            world.lock().check(number, view);
        }
        polled
    }
}
