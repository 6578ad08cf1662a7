//! Facts that a driver diagnoses about its database for an operator, beside what is registered.

use std::time::Duration;

use super::InstanceId;

/// A fact about a database and its content, for an operator who searches for a problem.
///
/// The drivers of gosd have a function `diagnose` that collects facts for `gosd doctor`, which checks them.
/// The function is no part of the contract: for a driver without one, the doctor uses only
/// [`Driver`](super::Driver).
///
/// No text in a fact contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// The database's clock, compared with this host's.
    Clock {
        /// How many ms it is ahead; negative if it is behind.
        ahead_ms: i64,
        /// The greatest error of that number, because the answer took some time.
        within: Duration,
    },
    /// The lease that the owner of a record asks for.
    Lease {
        /// The record.
        id: InstanceId,
        /// The lease is at least this long.
        at_least: Duration,
        /// The lease is at most this long. A database that keeps only the end of a lease cannot know it
        /// exactly.
        at_most: Duration,
    },
    /// A record without a lease, which stays when its owner has died.
    NoLease {
        /// The record.
        id: InstanceId,
    },
    /// A record that every client skips.
    Unreadable {
        /// Which record it is, and why it cannot be read.
        what: String,
    },
    /// Nobody has ever registered there, so the URL may lead to the wrong place.
    Absent {
        /// What is missing.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// An existing or likely problem of this kind of database.
    Trouble {
        /// The name of the problem in the output, in lower case with hyphens; it never changes.
        name: &'static str,
        /// What is wrong.
        what: String,
        /// What to do about it.
        advice: String,
    },
}
