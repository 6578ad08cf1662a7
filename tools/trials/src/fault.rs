//! The faults that a trial can make.

use std::fmt;
use std::str::FromStr;

/// A temporary fault of the backend, the network, or this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server is killed by `kill -9`, and restarts with its data.
    Kill,
    /// `SIGSTOP` and `SIGCONT`: connections stay open, and nobody answers.
    Pause,
    /// One of several registry servers is killed, and restarts.
    KillOne,
    /// One of several registry servers is stopped, and goes on.
    PauseOne,
    /// All registry servers are stopped, and go on.
    PauseAll,
    /// All registry servers restart, one after another.
    RestartAll,
    /// The server restarts without its data.
    Wipe,
    /// The server restarts with data from some time before the fault.
    Rewind,
    /// An empty replica takes over.
    Failover,
    /// Another process holds a lock on the database.
    Lock,
    /// The disk is full.
    Fill,
    /// The server refuses writes for lack of memory.
    NoMemory,
    /// The server refuses writes for lack of replicas.
    NoReplicas,
    /// The server refuses writes because it fails to save.
    FailingSave,
    /// The server refuses writes because of its settings.
    ReadOnly,
    /// The clients lose the right to write.
    Deny,
    /// The server refuses writes because its quota is exhausted.
    Quota,
    /// The server's wall clock is an hour ahead.
    Clock,
    /// The network refuses connections, and closes the existing ones.
    Refuse,
    /// The network resets each connection at its first byte.
    Reset,
    /// Every message is late.
    Delay,
    /// Messages of clients are lost.
    LoseRequests,
    /// Messages to clients are lost.
    LoseReplies,
    /// Messages arrive a few bytes at a time.
    Trickle,
    /// Connections break in the middle of a reply.
    Cut,
    /// All connections break, repeatedly.
    Flap,
    /// All clients and members are stopped, and go on later; the backend is unaffected.
    Freeze,
}

impl Fault {
    /// The faults of a server that keeps its data.
    pub const SERVER: [Self; 4] = [Self::Kill, Self::Pause, Self::Wipe, Self::Rewind];
    /// The faults of a network.
    pub const NETWORK: [Self; 8] = [
        Self::Refuse,
        Self::Reset,
        Self::Delay,
        Self::LoseRequests,
        Self::LoseReplies,
        Self::Trickle,
        Self::Cut,
        Self::Flap,
    ];
    /// The faults of a network between registry servers and their database.
    pub const BACKBONE: [Self; 4] =
        [Self::Refuse, Self::LoseRequests, Self::LoseReplies, Self::Flap];
    /// The faults of registry servers that stand in for each other.
    pub const TIER: [Self; 4] = [Self::KillOne, Self::PauseOne, Self::PauseAll, Self::RestartAll];
    /// The faults of a server that keeps no data, apart from those of its network.
    pub const FORGETFUL: [Self; 2] = [Self::Kill, Self::Pause];
    /// The faults that only Redis has.
    pub const REDIS: [Self; 5] =
        [Self::NoMemory, Self::NoReplicas, Self::FailingSave, Self::Deny, Self::Clock];
    /// The faults that PostgreSQL has, apart from those of every server.
    pub const POSTGRES: [Self; 5] =
        [Self::Lock, Self::Fill, Self::ReadOnly, Self::Deny, Self::Clock];
    /// The faults of a file.
    pub const FILE: [Self; 4] = [Self::Wipe, Self::Rewind, Self::Lock, Self::Fill];

    const NAMES: [(Self, &'static str); 27] = [
        (Self::Kill, "kill"),
        (Self::Pause, "pause"),
        (Self::KillOne, "kill-one"),
        (Self::PauseOne, "pause-one"),
        (Self::PauseAll, "pause-all"),
        (Self::RestartAll, "restart-all"),
        (Self::Wipe, "wipe"),
        (Self::Rewind, "rewind"),
        (Self::Failover, "failover"),
        (Self::Lock, "lock"),
        (Self::Fill, "fill"),
        (Self::NoMemory, "no-memory"),
        (Self::NoReplicas, "no-replicas"),
        (Self::FailingSave, "failing-save"),
        (Self::ReadOnly, "read-only"),
        (Self::Deny, "deny"),
        (Self::Quota, "quota"),
        (Self::Clock, "clock"),
        (Self::Refuse, "refuse"),
        (Self::Reset, "reset"),
        (Self::Delay, "delay"),
        (Self::LoseRequests, "lose-requests"),
        (Self::LoseReplies, "lose-replies"),
        (Self::Trickle, "trickle"),
        (Self::Cut, "cut"),
        (Self::Flap, "flap"),
        (Self::Freeze, "freeze"),
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(fault, _)| fault == self);
        f.pad(name.map_or("fault", |(_, name)| name))
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = Self::NAMES.iter().find(|(_, name)| *name == text);
        fault.map(|(fault, _)| *fault).ok_or_else(|| format!("no fault is called {text:?}"))
    }
}
