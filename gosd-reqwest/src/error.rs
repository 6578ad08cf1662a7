//! Why a request to a service came to nothing.

use std::error::Error as StdError;
use std::fmt;

/// Why a request to a service came to nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No instance was found, or none that a request can be sent to; nothing was sent.
    Lookup(gosd_core::Error),
    /// What reqwest says of the last attempt.
    Http(reqwest::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Lookup(error) => error.source(),
            Self::Http(error) => error.source(),
        }
    }
}

impl From<gosd_core::Error> for Error {
    fn from(error: gosd_core::Error) -> Self {
        Self::Lookup(error)
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error)
    }
}
