//! Heartbeats: the registration is renewed as long as the client lives, and restored when it is lost.

use std::time::Duration;

use gosd_core::{Driver, ErrorKind, Registration, Settings};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{Backend, DOWN, INTERVAL, LEASE, MS, SECOND, is_well, soon, until_status};

/// The pauses between these times.
fn pauses(times: &[Instant]) -> Vec<Duration> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn differ(times: &[Duration]) -> bool {
    times.iter().any(|time| time.abs_diff(times[0]) > MS)
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_is_every_third_of_the_lease_with_jitter() {
    let backend = Backend::new();
    let settings = Settings::default().lease_ttl(Duration::from_secs(30));
    let builder = backend.builder().register("mail", "http://10.0.0.7").settings(settings);
    let _client = builder.start().await.unwrap();
    let pauses = pauses(&backend.times(Operation::Register, 500).await);
    for pause in &pauses {
        assert!(Duration::from_millis(8_999) <= *pause && *pause <= Duration::from_millis(11_001));
    }
    assert!(differ(&pauses));
}

#[tokio::test(start_paused = true)]
async fn a_failed_heartbeat_is_retried_for_ever_with_growing_pauses() {
    let backend = Backend::new();
    // The lease is so long that the registration does not expire, because the client would then try more
    // often.
    let settings = Settings::default().lease_ttl(Duration::from_secs(86_400));
    let builder = backend.builder().register("mail", "http://10.0.0.7").settings(settings);
    let client = builder.start().await.unwrap();
    for _ in 0..2 {
        backend.link.on(Operation::Register, DOWN);
        let pauses = pauses(&backend.times(Operation::Register, 100).await);
        let mut bound = Duration::from_millis(200);
        for pause in &pauses {
            assert!(bound / 2 <= *pause && *pause <= bound + MS, "{pause:?}, not {bound:?}");
            bound = (2 * bound).min(5 * SECOND);
        }
        assert!(differ(&pauses[10..]));
        assert!(matches!(client.status().registration, Registration::Retrying { .. }));
        // After a success, the next failure begins with short pauses again.
        backend.link.clear(Operation::Register);
        until_status(&client, is_well).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_kind_of_error_stops_the_retries_after_the_start() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.7").await;
    for kind in [
        ErrorKind::Config,
        ErrorKind::Denied,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::NotFound,
        ErrorKind::Data,
        ErrorKind::Unsupported,
        ErrorKind::Stale,
        ErrorKind::Closed,
    ] {
        backend.link.on_all(Fault::Fail(kind));
        let retrying = |registration: &Registration| matches!(registration, Registration::Retrying { error, .. } if error.kind() == kind);
        let status = until_status(&client, |status| retrying(&status.registration)).await;
        assert!(!is_well(&status));
        backend.link.clear_all();
        until_status(&client, is_well).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_without_an_answer_is_given_up_and_retried() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.7").await;
    backend.link.on(Operation::Register, Fault::Hang);
    let times = backend.times(Operation::Register, 2).await;
    let pause = times[1] - times[0];
    assert!(LEASE / 5 < pause && pause <= LEASE / 5 + SECOND, "{pause:?}");
    let Registration::Retrying { error, .. } = client.status().registration else { panic!() };
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!((error.driver(), error.operation()), (Some("memory"), Some("register")));
}

/// Other clients keep a missing instance for half a lease, and then drop it.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_over_is_asked_for_again_within_half_a_lease() {
    for lease in [2, 3, 15] {
        let backend = Backend::new();
        let lease = Duration::from_secs(lease);
        let settings = Settings::default().lease_ttl(lease);
        let builder = backend.builder().register("mail", "http://10.0.0.7").settings(settings);
        let _client = builder.start().await.unwrap();
        backend.link.on(Operation::Register, Fault::Hang);
        sleep(2 * lease).await;
        for pause in pauses(&backend.times(Operation::Register, 50).await) {
            assert!(pause < lease / 2, "{pause:?} of {lease:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_one_register_call_at_a_time() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.7").await;
    backend.link.on(Operation::Register, Fault::Delay(4 * SECOND));
    // Each wipe calls for a repair, even in the middle of a renewal.
    for _ in 0..50 {
        backend.memory.wipe();
        sleep(3 * SECOND).await;
    }
    assert!(backend.link.calls(Operation::Register) > 20);
    assert_eq!(backend.link.most_at_once(Operation::Register), 1);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_wiped_or_removed_is_back_within_a_second() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.7").await;
    let id = client.id().unwrap();
    let mut delays = Vec::new();
    for i in 0..40 {
        // The wipe comes right after a heartbeat, because the next one would restore the record as well.
        soon(backend.link.called(Operation::Register, backend.link.calls(Operation::Register) + 1))
            .await;
        sleep(SECOND).await;
        match i % 2 {
            0 => backend.memory.wipe(),
            _ => backend.memory.deregister(id).await.unwrap(),
        }
        let gone = Instant::now();
        backend.times(Operation::Register, 1).await;
        delays.push(gone.elapsed());
        sleep(MS).await;
        assert!(backend.holds(id).await);
        assert_eq!(client.instances("mail").len(), 1);
    }
    assert!(delays.iter().all(|delay| *delay <= SECOND + MS), "{delays:?}");
    assert!(differ(&delays), "all clients would come back in step");
}

#[tokio::test(start_paused = true)]
async fn a_wiped_record_is_also_missed_by_a_driver_that_is_polled() {
    let backend = Backend::polled();
    let settings = Settings::default().lease_ttl(Duration::from_secs(3_600));
    let builder = backend.builder().register("mail", "http://10.0.0.7").settings(settings);
    let client = builder.start().await.unwrap();
    for _ in 0..10 {
        sleep(60 * SECOND).await;
        backend.memory.wipe();
        let gone = Instant::now();
        backend.times(Operation::Register, 1).await;
        assert!(gone.elapsed() <= INTERVAL + INTERVAL / 10 + SECOND + MS, "{:?}", gone.elapsed());
        assert_eq!(client.instances("mail").len(), 1);
    }
}
