//! What a driver finds out about its database for an operator, beside what is registered.

use std::time::Duration;

use super::InstanceId;

/// A fact about a database and what it holds, for whoever looks for what is wrong.
///
/// The drivers of gosd have a function `diagnose` that gathers them for `gosd doctor`, which checks
/// them. It is no part of the contract: of a driver without one, the doctor finds out what
/// [`Driver`](super::Driver) tells.
///
/// No text in it holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// The database's clock, compared with this host's.
    Clock {
        /// How many ms it is ahead; negative if it is behind.
        ahead_ms: i64,
        /// By how much that may be wrong, for the answer took its time.
        within: Duration,
    },
    /// How long a lease the owner of a record asks for.
    Lease {
        /// The record.
        id: InstanceId,
        /// It is this long at least,
        at_least: Duration,
        /// and this long at most. A database that keeps no more than the end of a lease cannot tell
        /// exactly.
        at_most: Duration,
    },
    /// A record that ends with no lease: it stays when its owner has died.
    NoLease {
        /// The record.
        id: InstanceId,
    },
    /// A record that every client skips.
    Unreadable {
        /// Which one it is, and why.
        what: String,
    },
    /// Nobody has ever registered there, so it may be the wrong place.
    Absent {
        /// What is not there.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// Something that is wrong, or may become so, with this kind of database.
    Trouble {
        /// What it is called in the output, in lower case with hyphens; it never changes.
        name: &'static str,
        /// What is wrong.
        what: String,
        /// What to do about it.
        advice: String,
    },
}
