//! The diagnosis of a database by the drivers that are compiled in, which is not part of the contract.

use std::time::Duration;

use gosd_core::{BoxFuture, Fact, Result};

use crate::drivers::{COMPILED, FEATURES};

/// Diagnoses the database of a URL, for clients with this lease.
pub(crate) type Diagnose = for<'a> fn(&'a str, Duration) -> BoxFuture<'a, Result<Vec<Fact>>>;

/// The diagnosis of the driver for a URL; empty if no such driver is compiled in.
pub(crate) async fn diagnose(url: &str, lease: Duration) -> Result<Vec<Fact>> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme).to_ascii_lowercase();
    let feature = FEATURES.iter().find(|(_, schemes)| schemes.contains(&scheme.as_str()));
    let compiled = COMPILED.iter().find(|(name, ..)| feature.is_some_and(|(it, _)| it == name));
    match compiled {
        Some((.., diagnose)) => {
            diagnose(url, lease).await.map_err(|error| error.at(&scheme, "diagnose"))
        }
        None => Ok(Vec::new()),
    }
}
