//! Drivers that need the runtime's I/O. Without I/O tokio panics when they connect, so this is checked first.
#![cfg(any(feature = "redis", feature = "postgres", feature = "etcd", feature = "http"))]

use std::net::UdpSocket;
use std::sync::Arc;

use gosd_core::{BoxFuture, Driver, Error, ErrorKind, Result};
use tokio::runtime::Handle;

#[cfg(feature = "redis")]
pub(crate) fn redis(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    with_io(gosd_redis::open(url))
}

#[cfg(feature = "postgres")]
pub(crate) fn postgres(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    with_io(gosd_postgres::open(url))
}

#[cfg(feature = "etcd")]
pub(crate) fn etcd(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    with_io(gosd_etcd::open(url))
}

#[cfg(feature = "http")]
pub(crate) fn http(url: &str) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    with_io(gosd_http::open(url))
}

fn with_io(
    opened: BoxFuture<'_, Result<Arc<dyn Driver>>>,
) -> BoxFuture<'_, Result<Arc<dyn Driver>>> {
    Box::pin(async {
        let driver = opened.await?;
        if lacks_io() {
            let message = "the tokio runtime has no I/O, which this driver needs: build it with enable_all(), \
                 or with enable_io()";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(driver)
    })
}

/// Whether this is a runtime in which no connection can be made.
fn lacks_io() -> bool {
    // Without a runtime this cannot be known yet. Opening a driver needs none, and the start checks it.
    if Handle::try_current().is_err() {
        return false;
    }
    // The socket sends nothing and is closed at once. If there is no free socket, the driver reports that.
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)) else { return false };
    if socket.set_nonblocking(true).is_err() {
        return false;
    }
    gosd_core::panics_in_silence(|| drop(tokio::net::UdpSocket::from_std(socket)))
}
