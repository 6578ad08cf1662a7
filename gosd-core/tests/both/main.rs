//! The driver that is made of two: a test for each of its rules, and the contract of every driver.

mod calls;
mod client;
mod conformance;
mod support;
mod watching;
