//! The Redis driver of gosd.

mod connection;
mod driver;
mod error;
mod follow;
mod layout;
mod options;
mod scripts;
mod snapshot;
mod socket;
mod watch;

use std::sync::Arc;

use gosd_core::{BoxFuture, Driver, Result};

/// Makes a driver of a URL.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let driver: Arc<dyn Driver> = Arc::new(driver::Redis::new(options::Options::parse(url)?));
        Ok(driver)
    })
}
