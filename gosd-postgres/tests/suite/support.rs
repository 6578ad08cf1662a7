//! What the tests share.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance};

/// Longer than any lease that a test waits for.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);
/// What anything may take before a test gives up; generous, for busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The rights that a user needs where another one has made the schema.
pub(crate) const GRANTS: &str = "
    GRANT USAGE ON SCHEMA gosd TO shop;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gosd TO shop;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA gosd TO shop";

pub(crate) async fn open(url: &str) -> Arc<dyn Driver> {
    gosd_postgres::open(url).await.expect("the URL is good")
}

pub(crate) fn instance(service: &str) -> Instance {
    Instance::new(service, "http://10.0.0.7:8885").expect("a good instance")
}
