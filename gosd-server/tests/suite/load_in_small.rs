//! A small load: no watcher misses a change, and a burst is few pieces.

use std::time::{Duration, Instant};

use gosd_core::Driver;
use gosd_server::{Limits, Settings};
use tokio::time::sleep;

use super::load;
use super::support::{LEASE, instance, memory, raw, read_until};

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

#[tokio::test]
async fn changes_that_come_together_are_sent_together() {
    const CHANGES: usize = 100;
    const PIECES_A_SECOND: f64 = 20.0;
    let (server, registry) = memory(Settings::new()).await;
    let mut watcher =
        raw(&server, b"GET /v1/gosd/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    read_until(&mut watcher, "]}\n\n").await;
    let begun = Instant::now();
    for _ in 0..CHANGES {
        registry.register(&instance("mail"), LEASE).await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    let last = instance("last");
    registry.register(&last, LEASE).await.unwrap();
    let text = read_until(&mut watcher, &format!("{}\n\n", last.to_json())).await;
    assert_eq!(text.matches("event: put").count(), CHANGES + 1, "{text}");
    // Each piece is a chunk, which begins with a line of its length in hexadecimal.
    let is_length = |line: &&str| !line.is_empty() && line.chars().all(|it| it.is_ascii_hexdigit());
    let pieces = text.lines().filter(is_length).count();
    let most = PIECES_A_SECOND * (begun.elapsed().as_secs_f64() + 1.0);
    assert!(pieces as f64 <= most, "{pieces} pieces in {:?}", begun.elapsed());
}
