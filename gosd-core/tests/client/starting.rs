//! Starts with a backend that is up, that is down, that hangs, and that refuses.

use std::time::Duration;

use futures_util::FutureExt;
use gosd_core::{Error, ErrorKind, Instance, Registration, Settings, View};
use gosd_testkit::{Fault, Operation};
use tokio::time::Instant;

use crate::support::{
    ATTEMPTS, Backend, DOWN, SECOND, TIMEOUT, is_well, settle, soon, tasks, until_status,
};

const REFUSALS: [ErrorKind; 4] =
    [ErrorKind::Config, ErrorKind::Denied, ErrorKind::Data, ErrorKind::Unsupported];

#[tokio::test(start_paused = true)]
async fn a_start_registers_and_has_read_the_first_view() {
    for backend in [Backend::new(), Backend::polled()] {
        let other = backend.put_for_long("mail", "http://10.0.0.8").await;
        let begun = Instant::now();
        let client = backend.register("mail", "http://10.0.0.7").await;
        assert!(begun.elapsed() < SECOND);
        let mut ids: Vec<_> = client.instances("mail").iter().map(|it| it.id().clone()).collect();
        ids.sort();
        assert_eq!(ids, [other, client.id().unwrap().clone()]);
        assert!(is_well(&client.status()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_discovers_registers_nothing() {
    let backend = Backend::new();
    let client = backend.discover().await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(client.id(), None);
    assert_eq!(backend.link.calls(Operation::Register), 0);
    assert!(matches!(client.status().registration, Registration::DiscoverOnly));
}

#[tokio::test(start_paused = true)]
async fn a_start_without_the_backend_is_standalone_and_registers_later_by_itself() {
    for backend in [Backend::new(), Backend::polled()] {
        backend.link.on_all(DOWN);
        let begun = Instant::now();
        let client = backend.register("mail", "http://10.0.0.7").await;
        assert!(begun.elapsed() < SECOND, "the attempts fail at once");
        assert_eq!(backend.link.calls(Operation::Register), ATTEMPTS);
        let status = client.status();
        let Registration::Standalone { error, .. } = status.registration else { panic!() };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(matches!(status.view, View::Unknown));

        tokio::time::sleep(3_600 * SECOND).await;
        assert!(matches!(client.status().registration, Registration::Standalone { .. }));
        backend.link.clear_all();
        let back = Instant::now();
        until_status(&client, is_well).await;
        assert!(back.elapsed() <= 6 * SECOND, "{:?}", back.elapsed());
        assert!(backend.holds(client.id().unwrap()).await);
        assert_eq!(client.next("mail").await.unwrap().url(), "http://10.0.0.7");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_backend_that_hangs_is_bounded() {
    for backend in [Backend::new(), Backend::polled()] {
        for attempts in [1, 3] {
            backend.link.on_all(Fault::Hang);
            let settings = Settings::default().try_refresh_amount(attempts);
            let builder = backend.builder().register("mail", "http://10.0.0.7").settings(settings);
            let begun = Instant::now();
            let client = soon(builder.start()).await.unwrap();
            let took = begun.elapsed();
            assert!(attempts * TIMEOUT <= took && took < attempts * (TIMEOUT + SECOND), "{took:?}");
            let Registration::Standalone { error, .. } = client.status().registration else {
                panic!("{:?}", client.status())
            };
            assert_eq!(error.kind(), ErrorKind::Timeout);
            backend.link.clear_all();
            until_status(&client, is_well).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempts_are_counted_and_one_that_succeeds_is_enough() {
    for backend in [Backend::new(), Backend::polled()] {
        for operation in Operation::ALL {
            for _ in 1..ATTEMPTS {
                backend.link.once(operation, DOWN);
            }
        }
        let client = backend.register("mail", "http://10.0.0.7").await;
        assert!(is_well(&client.status()), "{:?}", client.status());
        assert_eq!(backend.link.calls(Operation::Register), ATTEMPTS);
    }
}

/// Starts a client that is refused, and checks that nothing is left of it.
async fn refused(backend: &Backend, kind: ErrorKind) -> Error {
    let begun = Instant::now();
    let error = soon(backend.builder().register("mail", "http://10.0.0.7").start());
    let error = error.await.unwrap_err();
    assert_eq!((error.kind(), error.driver()), (kind, Some("memory")));
    assert!(begun.elapsed() < SECOND);
    assert!(backend.link.calls(Operation::Register) <= 1);
    assert_eq!(tasks().await, 0);
    backend.link.clear_all();
    assert!(gosd_core::Driver::list(&backend.memory).await.unwrap().is_empty());
    error
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_at_once_and_leaves_nothing_behind() {
    for kind in REFUSALS {
        let backend = Backend::new();
        backend.link.on(Operation::Register, Fault::Fail(kind));
        assert_eq!(refused(&backend, kind).await.operation(), Some("register"));

        let backend = Backend::new();
        backend.link.on(Operation::Watch, Fault::Fail(kind));
        assert_eq!(refused(&backend, kind).await.operation(), Some("watch"));

        let backend = Backend::polled();
        backend.link.on(Operation::List, Fault::Fail(kind));
        assert_eq!(refused(&backend, kind).await.operation(), Some("list"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_also_after_failed_attempts() {
    let backend = Backend::new();
    backend.link.once(Operation::Register, DOWN);
    backend.link.on(Operation::Register, Fault::Fail(ErrorKind::Denied));
    let error = soon(backend.builder().register("mail", "http://10.0.0.7").start()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_instance_is_an_error_before_any_call() {
    let backend = Backend::new();
    let builder = || backend.builder();
    let long = "v".repeat(9_000);
    let fat = Instance::new("mail", "http://10.0.0.7").unwrap().with_metadata("k", &long);
    for (builder, named) in [
        (builder().register("my mail", "http://10.0.0.7"), "my mail"),
        (builder().register("mail", "10.0.0.7"), "10.0.0.7"),
        (builder().register_instance(fat), "metadata"),
        (builder().register("a", "http://h").register("b", "http://h"), "one instance"),
        (builder().settings(Settings::default().lease_ttl(Duration::ZERO)), "lease_ttl"),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(named), "{error}");
    }
    settle().await;
    assert!(Operation::ALL.iter().all(|operation| backend.link.calls(*operation) == 0));
}

#[test]
fn a_start_outside_a_runtime_is_an_error() {
    let backend = Backend::new();
    let error = backend.builder().start().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("runtime"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_given_up_leaves_nothing_running() {
    for backend in [Backend::new(), Backend::polled()] {
        backend.link.on_all(Fault::Hang);
        let start = backend.builder().register("mail", "http://10.0.0.7").start();
        assert!(tokio::time::timeout(SECOND, start).await.is_err());
        assert_eq!(tasks().await, 0);
        assert!(Operation::ALL.iter().all(|operation| backend.link.under_way(*operation) == 0));
    }
}
