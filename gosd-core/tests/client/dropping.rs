//! Futures are dropped at each point at which they wait, and clients without a goodbye.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures_util::StreamExt;
use gosd_core::{Client, Driver, ErrorKind, Registration};
use gosd_testkit::{Fault, Operation};
use tokio::time::{sleep, timeout};

use crate::support::{Backend, DOWN, LEASE, SECOND, is_well, item, settle, soon, tasks};

#[derive(Clone, Copy, Debug)]
enum At {
    /// While the future waits, and something is under way for it.
    Waiting,
    /// When the future was woken, before it is polled again.
    Woken,
}

/// Polls a future at most so many times and drops it. Returns whether the future had completed.
async fn cut(future: impl Future<Output = ()>, polls: usize, at: At) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match (future.as_mut().poll(context), at) {
            (Poll::Ready(()), _) => Poll::Ready(true),
            (Poll::Pending, At::Waiting) if left == 0 => Poll::Ready(false),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

/// Runs something again and again, each time up to a later point and on a new backend. Afterwards the other
/// function checks what is left.
async fn at_every_point(
    run: impl AsyncFn(&Backend, usize, At) -> bool,
    check: impl AsyncFn(&Backend),
) {
    for at in [At::Waiting, At::Woken] {
        for delay in [None, Some(SECOND)] {
            let mut polls = 0;
            loop {
                let backend = Backend::new();
                if let Some(delay) = delay {
                    backend.link.on_all(Fault::Delay(delay));
                }
                let done = run(&backend, polls, at).await;
                check(&backend).await;
                if done {
                    break;
                }
                polls += 1;
                assert!(polls < 1_000, "it does not end: {at:?}, {delay:?}");
            }
            assert!(delay.is_none() || polls > 1, "it never waited");
        }
    }
}

/// Requires that no task and no call is left, and that the lease ends the registration.
async fn nothing_is_left(backend: &Backend) {
    assert_eq!(tasks().await, 0);
    assert!(Operation::ALL.iter().all(|operation| backend.link.under_way(*operation) == 0));
    let calls = backend.link.calls(Operation::Register);
    sleep(LEASE + SECOND).await;
    assert_eq!(backend.link.calls(Operation::Register), calls);
    let left = backend.memory.list().await.unwrap();
    assert!(left.iter().all(|instance| instance.service() != "mail"), "{left:?}");
}

async fn start(backend: &Backend) -> Client {
    backend.register("mail", "http://10.0.0.1").await
}

/// Drops the future of an operation together with its client; then drops only the future, after which the
/// operation must work again.
async fn operation(run: impl AsyncFn(&Backend, &Client)) {
    let with_client = async |backend: &Backend, polls, at| {
        let client = start(backend).await;
        cut(run(backend, &client), polls, at).await
    };
    at_every_point(with_client, nothing_is_left).await;

    let alone = async |backend: &Backend, polls, at| {
        let client = start(backend).await;
        let done = cut(run(backend, &client), polls, at).await;
        settle().await;
        soon(run(backend, &client)).await;
        // The registration lives on, unless the operation was there to end it.
        if !matches!(client.status().registration, Registration::Left) {
            sleep(2 * LEASE).await;
            assert!(is_well(&client.status()), "{:?}", client.status());
            assert!(backend.holds(client.id().unwrap()).await);
        } else {
            sleep(2 * LEASE).await;
            assert!(!backend.holds(client.id().unwrap()).await);
        }
        done
    };
    at_every_point(alone, nothing_is_left).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_start_leaves_nothing_behind() {
    let run = async |backend: &Backend, polls, at| {
        cut(async { drop(start(backend).await) }, polls, at).await
    };
    at_every_point(run, nothing_is_left).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_start_that_is_refused_leaves_nothing_behind() {
    let run = async |backend: &Backend, polls, at| {
        backend.link.on(Operation::Watch, Fault::Fail(ErrorKind::Denied));
        let builder = backend.builder().register("mail", "http://10.0.0.1");
        cut(async { assert!(builder.start().await.is_err()) }, polls, at).await
    };
    at_every_point(run, nothing_is_left).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_lookup_leaves_nothing_behind() {
    operation(async |backend, client| {
        let appears = async {
            sleep(SECOND).await;
            backend.put_for_long("web", "http://10.0.0.2").await;
        };
        let mut handle = client.service("web");
        let (found, also, ()) = tokio::join!(client.next("web"), handle.next(), appears);
        assert!(found.is_ok() && also.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_read_leaves_nothing_behind() {
    operation(async |_, client| client.refresh().await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_read_of_a_stale_view_leaves_nothing_behind() {
    operation(async |backend, client| {
        backend.link.once(Operation::Watch, DOWN);
        settle().await;
        client.refresh_if_stale().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_removal_by_url_leaves_nothing_behind() {
    operation(async |backend, client| {
        backend.put_for_long("web", "http://10.0.0.2").await;
        backend.put_for_long("web", "http://10.0.0.2").await;
        assert!(client.deregister_url("http://10.0.0.2").await.unwrap() >= 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropping_streams_leaves_nothing_behind() {
    operation(async |backend, client| {
        let (mut statuses, mut changes) = (client.status_changes(), client.changes());
        assert!(item(&mut statuses).await.is_some() && item(&mut changes).await.is_some());
        backend.link.once(Operation::Watch, DOWN);
        // The status may change at any time, or never.
        let until_the_end = async { while statuses.next().await.is_some() {} };
        assert!(timeout(3 * SECOND, until_the_end).await.is_err());
        backend.put_for_long("web", "http://10.0.0.2").await;
        assert!(item(&mut changes).await.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_goodbye_leaves_nothing_behind() {
    operation(async |_, client| client.leave().await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_goodbye_during_a_heartbeat_leaves_nothing_behind() {
    operation(async |backend, client| {
        if !matches!(client.status().registration, Registration::Left) {
            backend.link.once(Operation::Register, Fault::Delay(SECOND));
            backend.times(Operation::Register, 1).await;
        }
        client.leave().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_shutdown_leaves_nothing_behind() {
    operation(async |_, client| client.shutdown().await.unwrap()).await;
}
