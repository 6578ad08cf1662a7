//! The program, run as people run it, over real databases.
#![cfg(target_os = "linux")]

mod commands;
mod doctor;
mod doctor_of_postgres;
mod doctor_of_servers;
mod executing;
mod exit_codes;
mod holding;
mod importing;
mod json;
mod migrating;
mod migrating_page;
mod proxies;
mod running;
mod running_signals;
mod serving;
mod support;
mod terminal;
mod tier;
mod unread;
mod watching;
