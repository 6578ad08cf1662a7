//! The etcd driver of gosd.

mod connection;
mod driver;
mod error;
mod layout;
mod lease;
mod options;
mod tls;
mod watch;

use std::sync::Arc;

use gosd_core::{BoxFuture, Driver, Result};

/// Opens the driver for a URL. Judges the URL, and connects to nothing yet.
///
/// # Errors
///
/// [`ErrorKind::Config`](gosd_core::ErrorKind::Config) if the URL cannot work.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let options = options::Options::parse(url)?;
        Ok(Arc::new(driver::Etcd::new(options)) as Arc<dyn Driver>)
    })
}
