//! A warning for the first of many like it.

use std::fmt;
use std::sync::Once;

use tracing::{debug, warn};

/// Tells of records that cannot be read: of each on the level debug, and of the first as a warning.
#[derive(Debug)]
pub struct WarnOnce(Once);

impl WarnOnce {
    /// Makes one that has not warned yet.
    pub const fn new() -> Self {
        Self(Once::new())
    }

    /// Says that a record of a namespace was skipped, and why.
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
