//! The HTTP driver of gosd, a service discovery client.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod connection;
mod driver;
mod error;
mod options;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod server;
mod sse;
mod watch;
mod wire;

use std::sync::Arc;

use gosd_core::{BoxFuture, Driver, Result};

/// Makes a driver of a URL.
pub fn open(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async move {
        let driver: Arc<dyn Driver> = Arc::new(driver::Http::new(options::Options::parse(url)?));
        Ok(driver)
    })
}
