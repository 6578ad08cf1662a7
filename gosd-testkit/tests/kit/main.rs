//! The kit's own tests: sound drivers pass, and each broken one fails what it breaks.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod backend;
mod conformance;
mod mutants;
mod table;
mod texts;
