//! The commands, one in each file.

pub(crate) mod completions;
pub(crate) mod deregister;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod register;
#[cfg(unix)]
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod watch;
