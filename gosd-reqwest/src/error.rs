//! The error of a request to a service.

use std::error::Error as StdError;
use std::fmt;

/// Why a request to a service has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No instance was found, or no request can be sent to its URL. Nothing was sent.
    Lookup(gosd_core::Error),
    /// The last attempt failed with this error of reqwest.
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
