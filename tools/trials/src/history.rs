//! What happened in a trial, event by event.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What happened in a trial, in the order of time; times count from its beginning.
pub type History = Vec<(Duration, Event)>;

/// The ids of instances.
pub type Ids = BTreeSet<String>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An instance is alive from now on.
    Started {
        id: String,
        service: String,
    },
    /// It was told to leave; whether it is there is open until one of the next two.
    Leaving {
        id: String,
    },
    /// Its goodbye succeeded.
    Left {
        id: String,
    },
    /// It died, or its goodbye failed.
    Killed {
        id: String,
    },
    /// All clients have seen all that there is: from now on promises count.
    Ready,
    FaultBegan,
    FaultEnded,
    /// A client looked for a service, and found an instance or not.
    Lookup {
        client: usize,
        service: String,
        found: bool,
    },
    /// All that a client would choose among.
    View {
        client: usize,
        ids: Ids,
    },
    /// All that the backend has, by a connection that no fault of the network touches.
    Listed {
        ids: Ids,
    },
    /// A client's view became fresh, or stale.
    Contact {
        client: usize,
        fresh: bool,
    },
    /// A client called the backend, or polled its watch after an error.
    Attempt {
        client: usize,
    },
    /// Somebody connected to the backend.
    Connected,
    /// What the process holds.
    Holds {
        when: When,
        resources: Resources,
    },
}

/// When resources were counted.
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

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Tasks that are not done.
    pub tasks: usize,
    /// Open sockets.
    pub sockets: usize,
    /// Resident memory in KiB.
    pub memory: usize,
}

/// Writes a history while it happens; clones write the same one.
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

    /// Writes down what happened just now.
    pub fn record(&self, event: Event) {
        self.record_at(Instant::now(), event);
    }

    /// Writes down what happened at a time.
    pub fn record_at(&self, at: Instant, event: Event) {
        let at = at.duration_since(self.began);
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push((at, event));
    }

    /// What happened so far.
    pub fn history(&self) -> History {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
        history.sort_by_key(|(at, _)| *at);
        history
    }
}
