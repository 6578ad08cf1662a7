//! Goodbyes: when they are sent, how often, and what they leave.

use futures_util::FutureExt;
use gosd_core::{Driver, Error, ErrorKind, Registration, Settings, View};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    Backend, DOWN, LEASE, MS, NO_TIME, SECOND, TIMEOUT, settle, soon, tasks, until_seen,
};

/// For an hour after a goodbye, nothing may register the instance again.
const AN_HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_client_that_has_left_is_gone_for_good_and_still_discovers() {
    for backend in [Backend::new(), Backend::polled()] {
        let client = backend.register("mail", "http://10.0.0.1").await;
        client.leave().await.unwrap();
        assert!(!backend.holds(client.id().unwrap()).await);
        assert!(client.pick("mail").is_none(), "without waiting for an event");
        assert!(matches!(client.status().registration, Registration::Left));
        let calls = backend.link.calls(Operation::Register);
        backend.memory.wipe();
        sleep(AN_HOUR).await;
        assert_eq!(backend.link.calls(Operation::Register), calls);
        assert!(!backend.holds(client.id().unwrap()).await);
        backend.put_for_long("web", "http://10.0.0.2").await;
        soon(client.next("web")).await.unwrap();
        assert!(matches!(client.status().view, View::Fresh));
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_waits_for_the_renewal_in_flight() {
    let backend = Backend::new();
    // One renewal has taken effect already, and the other takes effect late.
    for fault in [Fault::HangAfter, Fault::Hang] {
        let client = backend.register("mail", "http://10.0.0.1").await;
        backend.link.once(Operation::Register, fault);
        backend.times(Operation::Register, 1).await;
        let mut leave = Box::pin(client.leave());
        assert!(timeout(SECOND, &mut leave).await.is_err(), "it did not wait");
        assert!(matches!(client.status().registration, Registration::Left));
        assert_eq!(backend.link.under_way(Operation::Deregister), 0);
        backend.link.clear(Operation::Register);
        soon(leave).await.unwrap();
        assert!(matches!(client.status().registration, Registration::Left));
        assert!(!backend.holds(client.id().unwrap()).await);
        assert!(client.pick("mail").is_none());
        sleep(AN_HOUR).await;
        assert!(!backend.holds(client.id().unwrap()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn after_leaving_the_own_instance_does_not_count_as_missing() {
    let backend = Backend::polled();
    backend.put_for_long("mail", "http://10.0.0.2").await;
    let other = backend.put_for_long("mail", "http://10.0.0.3").await;
    let client = backend.register("mail", "http://10.0.0.1").await;
    // Its last renewal ends after the leave has begun, and the goodbye fails.
    backend.link.once(Operation::Register, Fault::HangAfter);
    backend.link.once(Operation::Deregister, Fault::Fail(ErrorKind::Denied));
    backend.times(Operation::Register, 1).await;
    let clear = async {
        settle().await;
        backend.link.clear(Operation::Register);
    };
    assert!(soon(async { tokio::join!(client.leave(), clear) }).await.0.is_err());
    until_seen(&client, "mail", 2).await;
    backend.memory.deregister(&other).await.unwrap();
    let begun = Instant::now();
    until_seen(&client, "mail", 1).await;
    assert!(begun.elapsed() <= LEASE, "a read without the own instance is as good");
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_bounded_with_the_backend_down() {
    for (fault, cause) in
        [(Fault::Hang, Some(ErrorKind::Timeout)), (DOWN, Some(ErrorKind::Unavailable))]
    {
        let backend = Backend::new();
        let client = backend.register("mail", "http://10.0.0.1").await;
        backend.link.on_all(fault);
        // The middle of a renewal is the worst time.
        backend.times(Operation::Register, 1).await;
        let begun = Instant::now();
        let error = soon(client.leave()).await.unwrap_err();
        assert!(begun.elapsed() <= TIMEOUT + MS, "{:?}", begun.elapsed());
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, Some("deregister")));
        let source = std::error::Error::source(&error).and_then(|it| it.downcast_ref::<Error>());
        assert_eq!(source.map(Error::kind), cause);
        assert!(matches!(client.status().registration, Registration::Left));
        let calls = backend.link.calls(Operation::Register);

        // Nothing registers the instance again, and the goodbye can be repeated later.
        backend.link.clear_all();
        sleep(LEASE / 2).await;
        assert_eq!(backend.link.calls(Operation::Register), calls);
        client.leave().await.unwrap();
        assert!(!backend.holds(client.id().unwrap()).await);
    }
}

/// Those who ask at the same time are answered together, and those who stopped waiting cost nobody any time.
#[tokio::test(start_paused = true)]
async fn a_goodbye_does_not_wait_for_those_that_others_asked_for() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.1").await;
    backend.link.on_all(DOWN);
    let begun = Instant::now();
    let [one, other] = [client.clone(), client.clone()];
    let (a, b, c) = soon(async { tokio::join!(client.leave(), one.leave(), other.leave()) }).await;
    assert!(a.is_err() && b.is_err() && c.is_err());
    assert!(begun.elapsed() <= TIMEOUT + MS, "{:?}", begun.elapsed());

    let client = {
        backend.link.clear_all();
        backend.register("mail", "http://10.0.0.2").await
    };
    backend.link.on_all(DOWN);
    for _ in 0..60 {
        // As a health check does that gives up after a second.
        let _ = timeout(SECOND, client.set_ready(false)).await;
    }
    let begun = Instant::now();
    client.shutdown().await.unwrap_err();
    assert!(begun.elapsed() <= TIMEOUT + MS, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_goodbye_has_its_time_from_when_it_was_asked_for() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.1").await;
    backend.link.on_all(DOWN);
    let leave = async |after| {
        sleep(after).await;
        let begun = Instant::now();
        let left = soon(client.leave()).await;
        assert!(begun.elapsed() <= TIMEOUT + MS, "{:?}", begun.elapsed());
        left.is_ok()
    };
    let repair = async {
        sleep(7 * SECOND).await;
        backend.link.clear_all();
    };
    // The second waits for the first, and shares the next attempts with the third, which has more time.
    let (first, second, third, ()) =
        tokio::join!(leave(NO_TIME), leave(SECOND), leave(9 * SECOND / 2), repair);
    assert_eq!((first, second, third), (false, false, true));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_said_even_if_what_was_asked_before_has_used_up_its_time() {
    for backend in [Backend::new(), Backend::polled()] {
        let settings = Settings::default().lease_ttl(4 * LEASE);
        let builder = backend.builder().settings(settings).register("mail", "http://10.0.0.1");
        let client = builder.start().await.unwrap();
        backend.link.on(Operation::Register, Fault::Hang);
        backend.link.on(Operation::Deregister, Fault::Delay(SECOND));
        let change = async { client.set_metadata([("zone".into(), "b".into())].into()).await };
        let leave = async {
            sleep(SECOND / 10).await;
            client.leave().await
        };
        let _ = tokio::join!(change, leave);
        sleep(TIMEOUT).await;
        assert!(!backend.holds(client.id().unwrap()).await);
        client.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_tried_again_and_a_refusal_is_not() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.1").await;
    backend.link.once(Operation::Deregister, DOWN).once(Operation::Deregister, DOWN);
    let begun = Instant::now();
    soon(client.leave()).await.unwrap();
    assert!(begun.elapsed() < SECOND);
    assert!(!backend.holds(client.id().unwrap()).await);

    let client = backend.register("mail", "http://10.0.0.1").await;
    backend.link.once(Operation::Deregister, Fault::Fail(ErrorKind::Denied));
    assert_eq!(soon(client.leave()).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_without_an_answer_is_said_again() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.1").await;
    for _ in 0..2 {
        backend.link.once(Operation::Deregister, Fault::Hang);
    }
    let begun = Instant::now();
    soon(client.leave()).await.unwrap();
    assert_eq!(backend.link.calls(Operation::Deregister), 3);
    assert!(begun.elapsed() <= TIMEOUT && !backend.holds(client.id().unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn leaving_and_shutting_down_twice_is_once() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.1").await;
    let clone = client.clone();
    let (one, other) = tokio::join!(client.leave(), clone.leave());
    assert!(one.is_ok() && other.is_ok());
    client.leave().await.unwrap();
    client.shutdown().await.unwrap();
    clone.shutdown().await.unwrap();
    client.leave().await.unwrap();
    assert_eq!(backend.link.calls(Operation::Deregister), 1);

    // A failed goodbye stays an error at the second call.
    let client = backend.register("mail", "http://10.0.0.1").await;
    backend.link.on_all(DOWN);
    for _ in 0..2 {
        assert_eq!(soon(client.shutdown()).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_whose_future_is_dropped_is_sent_all_the_same() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.1").await;
    assert!(client.leave().now_or_never().is_none());
    settle().await;
    assert!(!backend.holds(client.id().unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_discovers_leaves_at_once() {
    let backend = Backend::new();
    let client = backend.discover().await;
    client.leave().await.unwrap();
    assert!(matches!(client.status().registration, Registration::DiscoverOnly));
    client.shutdown().await.unwrap();
    assert_eq!(backend.link.calls(Operation::Deregister), 0);
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_never_registered_leaves_at_once_and_does_not_register_later() {
    let backend = Backend::new();
    backend.link.on(Operation::Register, DOWN);
    let client = backend.register("mail", "http://10.0.0.1").await;
    assert!(matches!(client.status().registration, Registration::Standalone { .. }));
    client.leave().await.unwrap();
    backend.link.clear_all();
    sleep(AN_HOUR).await;
    assert!(!backend.holds(client.id().unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_the_last_view_is_served_as_stale() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.2").await;
    let client = backend.register("mail", "http://10.0.0.1").await;
    let mut handle = client.service("mail");
    client.shutdown().await.unwrap();
    assert_eq!(tasks().await, 0);
    assert!(Operation::ALL.iter().all(|operation| backend.link.under_way(*operation) == 0));
    backend.put_for_long("mail", "http://10.0.0.3").await;
    sleep(LEASE).await;
    for _ in 0..3 {
        assert_eq!(client.next("mail").await.unwrap().url(), "http://10.0.0.2");
        assert_eq!(handle.pick().unwrap().url(), "http://10.0.0.2");
    }
    let View::Stale { error, .. } = client.status().view else { panic!() };
    assert_eq!(error.kind(), ErrorKind::Closed);
    until_seen(&client, "mail", 1).await;
    client.add_local("web", "http://10.0.0.4").unwrap();
    assert!(client.pick("web").is_some());
    assert_eq!(
        client.deregister_url("http://10.0.0.2").await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}
