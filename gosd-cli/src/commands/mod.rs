//! The commands, one a file.

pub(crate) mod completions;
pub(crate) mod deregister;
pub(crate) mod drain;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod register;
pub(crate) mod watch;
