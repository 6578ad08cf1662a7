//! The settings of a server: its namespaces, tokens, certificates and limits.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use gosd_core::{Driver, DriverUrl, Error, ErrorKind, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::auth::{Access, Tokens};
use crate::limits::Limits;

/// The settings of a server: what it serves, to which clients, and within which limits.
///
/// ```
/// use std::sync::Arc;
/// use gosd_core::Memory;
/// use gosd_server::Settings;
///
/// let settings = Settings::new()
///     .namespace("gosd", Arc::new(Memory::new()))?
///     .token("one-that-nobody-guesses")?
///     .read_only_token("another-one-for-dashboards")?;
/// # Ok::<(), gosd_core::Error>(())
/// ```
#[must_use]
#[derive(Clone)]
pub struct Settings {
    pub(crate) namespaces: HashMap<String, Arc<dyn Driver>>,
    pub(crate) make: Option<Make>,
    pub(crate) tokens: Tokens,
    pub(crate) without_tokens: bool,
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) limits: Limits,
    pub(crate) unix_socket_mode: u32,
}

pub(crate) type Make = Arc<dyn Fn(&str) -> Option<Arc<dyn Driver>> + Send + Sync>;

impl Settings {
    /// No namespace, no token, no TLS, and the default [`Limits`].
    pub fn new() -> Self {
        Self {
            namespaces: HashMap::new(),
            make: None,
            tokens: Tokens::default(),
            without_tokens: false,
            tls: None,
            limits: Limits::default(),
            unix_socket_mode: 0o600,
        }
    }

    /// Serves a driver's registry under a namespace of the API.
    ///
    /// The name is the API's; it need not be the driver's own namespace.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the name is not 1 to 64 characters of `A-Z a-z 0-9 . _ -`, or is one
    /// that a path cannot hold (`.` and `..`).
    pub fn namespace(mut self, name: &str, driver: Arc<dyn Driver>) -> Result<Self> {
        check_namespace(name)?;
        self.namespaces.insert(name.to_owned(), driver);
        Ok(self)
    }

    /// Makes a driver for each other namespace, when a client first asks for it.
    ///
    /// `None` says that there is no such namespace. A client with a token can create [`Limits::namespaces`]
    /// of them.
    pub fn namespaces<F>(mut self, make: F) -> Self
    where
        F: Fn(&str) -> Option<Arc<dyn Driver>> + Send + Sync + 'static,
    {
        self.make = Some(Arc::new(make));
        self
    }

    /// Lets in clients with this token, to read and to write. Several tokens may be valid at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the token is not 16 to 512 characters of visible ASCII.
    pub fn token(self, token: &str) -> Result<Self> {
        self.add(token, Access::Write)
    }

    /// Lets in clients with this token, to read only. Several tokens may be valid at once.
    ///
    /// # Errors
    ///
    /// As for [`token`](Self::token).
    pub fn read_only_token(self, token: &str) -> Result<Self> {
        self.add(token, Access::Read)
    }

    fn add(mut self, token: &str, access: Access) -> Result<Self> {
        if !(16..=512).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Error::new(
                ErrorKind::Config,
                "a token is 16 to 512 characters of visible ASCII",
            ));
        }
        self.tokens.add(token, access);
        Ok(self)
    }

    /// Lets in every client that reaches the server, from other hosts too, to read and to write.
    ///
    /// Without this and without a token, only clients on the server's own host are let in.
    pub fn allow_everybody_without_token(mut self) -> Self {
        self.without_tokens = true;
        self
    }

    /// Makes [`serve`](crate::serve) use TLS, with a certificate chain and its key from PEM files.
    ///
    /// A renewed certificate in these files is used for new connections after a second at most. While the
    /// files cannot be used, such as in the middle of a renewal, the previous certificate is used.
    ///
    /// The cryptography is the process's default provider of rustls, or one that the features `tls-ring` and
    /// `tls-aws-lc` compile in.
    pub fn tls(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((cert.into(), key.into()));
        self
    }

    /// Sets the permissions of the file that `serve_unix` makes, such as `0o660` to include the group. The
    /// default is `0o600`.
    ///
    /// Whoever may write to the file is let in.
    pub fn unix_socket_mode(mut self, mode: u32) -> Self {
        self.unix_socket_mode = mode;
        self
    }

    /// Sets the limits of what clients may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether only clients on this host are let in.
    pub(crate) fn is_local(&self) -> bool {
        self.tokens.is_empty() && !self.without_tokens
    }
}

/// Checks a namespace by core's rule, and by that of paths.
pub(crate) fn check_namespace(name: &str) -> Result<()> {
    DriverUrl::parse(&format!("http:?namespace={}", utf8_percent_encode(name, NON_ALPHANUMERIC)))?
        .namespace()?;
    if matches!(name, "." | "..") {
        return Err(Error::new(ErrorKind::Config, "the namespace . or .. cannot be in a path"));
    }
    Ok(())
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("namespaces", &self.namespaces.keys())
            .field("is_local", &self.is_local())
            .field("tls", &self.tls)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use gosd_core::Memory;

    use super::*;

    #[test]
    fn bad_names_and_tokens_are_refused_at_once() {
        let driver = || Arc::new(Memory::new());
        for name in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
            let error = Settings::new().namespace(name, driver()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        }
        assert!(Settings::new().namespace("a.b_C-9", driver()).is_ok());
        for token in ["", "short", "one with spaces in it", "ümläuts-and-so-forth"] {
            assert!(Settings::new().token(token).is_err(), "{token}");
            assert!(Settings::new().read_only_token(token).is_err(), "{token}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let settings = Settings::new().token("sesame-sesame-sesame").unwrap();
        assert!(!format!("{settings:?}").contains("sesame"));
    }
}
