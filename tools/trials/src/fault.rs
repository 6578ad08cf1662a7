//! The faults that a trial can make.

use std::fmt;
use std::str::FromStr;

/// What goes wrong for a while: with the backend, the network, or this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a start with what was kept.
    Kill,
    /// `SIGSTOP` and `SIGCONT`: connections live, and nobody answers.
    Pause,
    /// It starts again with nothing.
    Wipe,
    /// It starts again with what it had some time before the fault.
    Rewind,
    /// A replica that has nothing takes over.
    Failover,
    /// Somebody holds a lock on the database.
    Lock,
    /// The disk is full.
    Fill,
    /// It takes no writes, for want of memory.
    NoMemory,
    /// It takes no writes, for want of replicas.
    NoReplicas,
    /// It takes no writes, because it fails to save.
    FailingSave,
    /// Its clients have lost the right to write.
    Deny,
    /// It takes no writes, because its quota is used up.
    Quota,
    /// Its wall clock is an hour ahead for a while.
    Clock,
    /// The network refuses connections, and closes those there are.
    Refuse,
    /// It resets connections as soon as they say something.
    Reset,
    /// Everything is late.
    Delay,
    /// What clients say does not arrive.
    LoseRequests,
    /// What they are answered does not arrive.
    LoseReplies,
    /// A few bytes at a time.
    Trickle,
    /// Connections break in the middle of a reply.
    Cut,
    /// All connections break, again and again.
    Flap,
    /// All clients and members are stopped, and go on; the backend is well.
    Freeze,
}

impl Fault {
    /// Those of a server that keeps its data.
    pub const SERVER: [Self; 4] = [Self::Kill, Self::Pause, Self::Wipe, Self::Rewind];
    /// Those of a network.
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
    /// Those of a server that keeps nothing, beside those of its network.
    pub const FORGETFUL: [Self; 2] = [Self::Kill, Self::Pause];
    /// Those that Redis alone has.
    pub const REDIS: [Self; 5] =
        [Self::NoMemory, Self::NoReplicas, Self::FailingSave, Self::Deny, Self::Clock];
    /// Those of a file.
    pub const FILE: [Self; 4] = [Self::Wipe, Self::Rewind, Self::Lock, Self::Fill];

    const NAMES: [(Self, &'static str); 22] = [
        (Self::Kill, "kill"),
        (Self::Pause, "pause"),
        (Self::Wipe, "wipe"),
        (Self::Rewind, "rewind"),
        (Self::Failover, "failover"),
        (Self::Lock, "lock"),
        (Self::Fill, "fill"),
        (Self::NoMemory, "no-memory"),
        (Self::NoReplicas, "no-replicas"),
        (Self::FailingSave, "failing-save"),
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
