//! The one error of gosd, for drivers, clients and the server.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of every fallible operation of gosd.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: which driver, during which operation, and what to do about it.
///
/// `Display` is one line and does not repeat the [source](StdError::source). Cloning is cheap.
///
/// ```
/// use gosd_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unavailable, "connection refused; is the server running?")
///     .at("memory", "list");
/// assert_eq!(error.to_string(), "memory: list: connection refused; is the server running?");
/// assert!(error.is_retryable());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    driver: Option<Arc<str>>,
    operation: Option<Arc<str>>,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The classes of failure that callers treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, URL, name or other value that can never work.
    Config,
    /// The backend refused the credentials, or they lack a permission.
    Denied,
    /// The backend cannot be reached, or cannot serve at the moment.
    Unavailable,
    /// The backend did not answer in time.
    Timeout,
    /// No live instance of the service is registered.
    NotFound,
    /// The backend holds something that gosd cannot work with.
    Data,
    /// The backend lacks a feature that the driver needs.
    Unsupported,
    /// The view is older than the settings allow it to be served.
    Stale,
    /// The client has been shut down.
    Closed,
}

impl Error {
    /// Makes an error of a kind, with a message that says what happened and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            driver: None,
            operation: None,
            message: message.into(),
            source: None,
        }))
    }

    /// Says which driver failed, and in which operation; what was said before stays.
    ///
    /// Core does this for every error that a driver's method returns, so a driver need not.
    #[must_use]
    pub fn at(mut self, driver: &str, operation: &str) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.driver.get_or_insert_with(|| driver.into());
        inner.operation.get_or_insert_with(|| operation.into());
        self
    }

    /// Attaches the error that caused this one.
    ///
    /// The source is shown by whoever walks the chain: it must not hold a secret.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// The class of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The name of the driver that failed, if a driver was involved.
    pub fn driver(&self) -> Option<&str> {
        self.0.driver.as_deref()
    }

    /// The operation that failed, such as `register` or `list`, if one was under way.
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::NotFound | ErrorKind::Stale
        )
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// The error for a call of a driver that takes longer than its bound.
    pub(crate) fn unanswered(bound: Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("no answer within {bound:?}"))
    }

    /// The error for a watch that ended, which no watch should.
    pub(crate) fn watch_ended() -> Self {
        Self::new(ErrorKind::Unavailable, "the watch ended")
    }

    /// The error for a panic in a driver, with which the call is made again.
    pub(crate) fn panicked() -> Self {
        let message = "the driver panicked, which is a bug in it; see its output";
        Self::new(ErrorKind::Unavailable, message)
    }
}

/// Methods that only the engine uses.
#[cfg(feature = "client")]
impl Error {
    /// Whether a starting client waits for the end of this error instead of failing with it.
    pub(crate) fn is_outwaited(&self) -> bool {
        !matches!(
            self.0.kind,
            ErrorKind::Config | ErrorKind::Denied | ErrorKind::Data | ErrorKind::Unsupported
        )
    }

    pub(crate) fn closed(operation: &str) -> Self {
        let mut error = Self::new(ErrorKind::Closed, "the client has been shut down");
        Arc::make_mut(&mut error.0).operation = Some(operation.into());
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(driver) = &self.0.driver {
            write!(f, "{driver}: ")?;
        }
        if let Some(operation) = &self.0.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

/// For `main` and `unwrap`: the message, the kind and the sources, on one line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.0.kind)?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, "; caused by: {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_driver_and_operation_stay() {
        let error = Error::new(ErrorKind::Denied, "no").at("redis", "register").at("core", "start");
        assert_eq!((error.driver(), error.operation()), (Some("redis"), Some("register")));
    }

    #[test]
    fn display_does_not_repeat_the_source() {
        let error = Error::new(ErrorKind::Unavailable, "no answer").caused_by("reset by peer");
        assert_eq!(error.to_string(), "no answer");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("reset by peer"));
        assert_eq!(format!("{error:?}"), "no answer (Unavailable); caused by: reset by peer");
    }
}
