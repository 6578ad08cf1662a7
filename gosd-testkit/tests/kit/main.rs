//! The kit's own tests: sound drivers pass all tests, and each broken driver fails those of what it breaks.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod backend;
mod conformance;
mod mutants;
mod table;
mod texts;
