//! `Both`, the driver made of two: a test for each of its rules, and the conformance kit.

mod calls;
mod client;
mod conformance;
mod snapshot;
mod support;
mod watching;
