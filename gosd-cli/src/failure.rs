//! Exit codes, and the messages of failures.

use std::error::Error as StdError;
use std::io::{self, Write};

use gosd::{Error, ErrorKind};

use crate::output::clean;

/// The exit code of a command, or its failure.
pub(crate) type Outcome = Result<u8, Failure>;

pub(crate) const DONE: u8 = 0;
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NOTHING_FOUND: u8 = 3;
pub(crate) const UNREACHABLE: u8 = 4;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Gosd(Error),
    Io(io::Error),
    /// An exit code and a message.
    Said(u8, String),
    /// The reader of the output has closed it.
    NobodyReads,
}

impl Failure {
    pub(crate) fn nothing_found(text: impl Into<String>) -> Self {
        Self::Said(NOTHING_FOUND, text.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Gosd(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Io(error),
        }
    }
}

/// Prints a failure on standard error, and returns the exit code.
pub(crate) fn tell(failure: Failure) -> u8 {
    let (code, text) = match failure {
        Failure::Gosd(error) => (code_of(error.kind()), with_causes(&error)),
        Failure::Io(error) => (FAILED, error.to_string()),
        Failure::Said(code, text) => (code, text),
        Failure::NobodyReads => return DONE,
    };
    // If standard error is closed, the message is lost.
    let _ = writeln!(anstream::stderr(), "gosd: {}", clean(&text));
    code
}

/// An error and its causes, on one line.
pub(crate) fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The exit code for an error.
pub(crate) fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Config => USAGE,
        ErrorKind::NotFound => NOTHING_FOUND,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Stale => UNREACHABLE,
        _ => FAILED,
    }
}
