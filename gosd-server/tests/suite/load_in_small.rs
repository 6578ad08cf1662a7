//! A small load: no watcher misses a change.

use std::time::Duration;

use gosd_server::{Limits, Settings};

use super::load;
use super::support::memory;

#[tokio::test(flavor = "multi_thread")]
async fn no_watcher_misses_a_change() {
    let mut limits = Limits::default();
    limits.requests_per_second = 100_000;
    let (server, _) = memory(Settings::new().limits(limits)).await;
    let plan = load::Plan {
        watchers: 100,
        instances: 500,
        changes_per_second: 100,
        duration: Duration::from_secs(3),
    };
    let report = load::run(&server.address().to_string(), &plan).await;
    assert_eq!(report.changes, 300);
    // Each change is at least one event; one in ten is two.
    assert!(report.restarts > 0 || report.events >= 100 * 300, "{report:?}");
}
