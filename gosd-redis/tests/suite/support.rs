//! Drivers and leases that several tests need.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance};

/// A lease longer than any test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_redis::open(url).await.expect("the URL is good")
}

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good instance")
}
