//! The history of a trial: all events with their times.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// All events of a trial in order, with the time since its beginning.
pub type History = Vec<(Duration, Event)>;

/// The ids of instances.
pub type Ids = BTreeSet<String>;

/// An event of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An instance is alive from now on.
    Started {
        id: String,
        service: String,
    },
    /// An instance was asked to leave. Until `Left` or `Killed` follows, it may be present or absent.
    Leaving {
        id: String,
    },
    /// The goodbye of an instance succeeded.
    Left {
        id: String,
    },
    /// An instance died, or its goodbye failed.
    Killed {
        id: String,
    },
    /// All clients have seen all instances. From now on the promises count.
    Ready,
    FaultBegan,
    /// The fault is about to be ended, which may take a while.
    FaultEnding,
    FaultEnded,
    /// A client looked a service up, and found an instance or not.
    Lookup {
        client: usize,
        service: String,
        found: bool,
    },
    /// All instances among which a client would choose.
    View {
        client: usize,
        ids: Ids,
    },
    /// All instances in the backend, read over a connection that no fault of the network affects.
    Listed {
        ids: Ids,
    },
    /// A client's view became fresh, or stale.
    Contact {
        client: usize,
        fresh: bool,
    },
    /// A client's view was replaced by a snapshot.
    Reset {
        client: usize,
    },
    /// A client called the backend, or polled its watch after an error.
    Attempt {
        client: usize,
    },
    /// A client connected to the backend.
    Connected,
    /// The process stood still for so long, until now, on a busy machine.
    Stalled {
        lasted: Duration,
    },
    /// The resources that the process holds.
    Holds {
        when: When,
        resources: Resources,
    },
}

/// The moment at which resources were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the first client.
    Empty,
    /// With all clients, before the fault.
    Steady,
    /// With the same clients, after the fault.
    Settled,
    /// After the last client.
    Over,
}

/// Resources of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Open sockets.
    pub sockets: usize,
    /// Resident memory in KiB.
    pub memory: usize,
}

/// Records a history. Clones record the same one.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    history: Arc<Mutex<History>>,
}

impl Recorder {
    /// Begins a history.
    #[expect(clippy::new_without_default, reason = "it reads the clock")]
    pub fn new() -> Self {
        Self { began: Instant::now(), history: Arc::default() }
    }

    /// Records an event that has just happened.
    pub fn record(&self, event: Event) {
        self.record_at(Instant::now(), event);
    }

    /// Records an event that happened at this time.
    pub fn record_at(&self, at: Instant, event: Event) {
        let at = at.duration_since(self.began);
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push((at, event));
    }

    /// The history so far.
    pub fn history(&self) -> History {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
        history.sort_by_key(|(at, _)| *at);
        history
    }
}
