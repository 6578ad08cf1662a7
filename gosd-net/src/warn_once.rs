//! A warning that is logged once for many records of a kind.

use std::fmt;
use std::sync::Once;

use tracing::{debug, warn};

/// Logs records that cannot be read: each on the level debug, and the first as a warning.
#[derive(Debug)]
pub struct WarnOnce(Once);

impl WarnOnce {
    /// Makes one that has not warned yet.
    pub const fn new() -> Self {
        Self(Once::new())
    }

    /// Logs that a record of a namespace was skipped, and why.
    pub fn skipped(&self, driver: &str, namespace: &str, problem: &dyn fmt::Display) {
        debug!(driver, namespace, "skipped: {problem}");
        self.0.call_once(|| {
            warn!(
                driver,
                namespace,
                "what cannot be read in the registry is skipped, such as: {problem}; \
                 further ones are logged on the level debug"
            );
        });
    }
}

impl Default for WarnOnce {
    fn default() -> Self {
        Self::new()
    }
}
