//! The program, run as people run it, against real databases.
#![cfg(target_os = "linux")]

mod commands;
mod exit_codes;
mod holding;
mod json;
mod running;
mod running_signals;
mod support;
mod terminal;
mod watching;
