//! Drivers, rights and bounds that several tests need.

use std::sync::Arc;
use std::time::Duration;

use gosd_core::{Driver, Instance};

/// A lease longer than any test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(600);
/// How long a test waits before it gives up, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The rights that a user needs where another user has created the schema.
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

/// Sends a signal to processes of a server, whose ids are separated by spaces.
pub(crate) async fn signal(name: &str, pids: &str) {
    let mut kill = tokio::process::Command::new("kill");
    kill.args(["-s", name]).args(pids.split(' '));
    assert!(kill.status().await.expect("kill is installed").success());
}
