//! The program, run as people run it, against real databases.
#![cfg(target_os = "linux")]

mod commands;
mod executing;
mod exit_codes;
mod holding;
mod json;
mod nginx;
mod running;
mod running_signals;
mod serving;
mod support;
mod terminal;
mod watching;
