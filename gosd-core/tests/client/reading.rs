//! Reads of the whole list: on request, by polling, and concurrent with events.

use futures_util::future::join_all;
use gosd_core::{Driver, ErrorKind, View};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{
    ATTEMPTS, Backend, DOWN, INTERVAL, LEASE, MS, SECOND, TIMEOUT, is_stale, is_well, settle, soon,
    until_status, urls,
};

#[tokio::test(start_paused = true)]
async fn a_refresh_shows_what_was_registered_before_the_call() {
    let backend = Backend::polled();
    let client = backend.discover().await;
    let begun = Instant::now();
    backend.put_for_long("mail", "http://10.0.0.7").await;
    client.refresh().await.unwrap();
    assert_eq!(client.pick("mail").unwrap().url(), "http://10.0.0.7");

    // This holds even if a read that began earlier is under way.
    backend.link.once(Operation::List, Fault::HangAfter);
    let before = tokio::spawn({
        let client = client.clone();
        async move { client.refresh().await }
    });
    settle().await;
    backend.put_for_long("web", "http://10.0.0.8").await;
    let after = client.refresh();
    let clear = async {
        settle().await;
        backend.link.clear(Operation::List);
    };
    assert!(soon(async { tokio::join!(after, clear) }).await.0.is_ok());
    assert!(before.await.unwrap().is_ok());
    assert_eq!(client.pick("web").unwrap().url(), "http://10.0.0.8");
    assert!(begun.elapsed() < SECOND, "none of it was found by polling");
}

#[tokio::test(start_paused = true)]
async fn refreshes_that_come_together_share_a_read() {
    let backend = Backend::new();
    let client = backend.discover().await;
    backend.link.on(Operation::List, Fault::Delay(SECOND));
    let all = join_all((0..100).map(|_| client.refresh()));
    assert!(soon(all).await.iter().all(Result::is_ok));
    assert!(backend.link.calls(Operation::List) <= 2, "one for the first, one for the others");
    assert_eq!(backend.link.most_at_once(Operation::List), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_tried_several_times_and_its_failure_keeps_the_view() {
    for backend in [Backend::new(), Backend::polled()] {
        backend.put_for_long("mail", "http://10.0.0.7").await;
        let client = backend.discover().await;
        let calls = |before: usize| backend.link.calls(Operation::List) - before;

        for _ in 1..ATTEMPTS {
            backend.link.once(Operation::List, DOWN);
        }
        let before = calls(0);
        soon(client.refresh()).await.unwrap();
        assert_eq!(calls(before), ATTEMPTS);

        backend.link.on(Operation::List, DOWN);
        let (before, begun) = (calls(0), Instant::now());
        let error = soon(client.refresh()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!((error.driver(), error.operation()), (Some("memory"), Some("list")));
        assert_eq!(calls(before), ATTEMPTS);
        assert!(begun.elapsed() > 200 * MS, "there are pauses between the attempts");
        assert_eq!(client.pick("mail").unwrap().url(), "http://10.0.0.7");

        backend.link.on(Operation::List, Fault::Fail(ErrorKind::Denied));
        let before = calls(0);
        assert_eq!(soon(client.refresh()).await.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(calls(before), 1, "trying again cannot help");

        backend.link.on(Operation::List, Fault::Hang);
        let begun = Instant::now();
        assert_eq!(soon(client.refresh()).await.unwrap_err().kind(), ErrorKind::Timeout);
        let attempts = 1 + ATTEMPTS as u32;
        assert!(begun.elapsed() <= attempts * (TIMEOUT + INTERVAL), "one may have been under way");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_view_is_not_read_again() {
    let backend = Backend::new();
    let client = backend.discover().await;
    assert!(!client.refresh_if_stale().await.unwrap());
    assert_eq!(backend.link.calls(Operation::List), 0);
    backend.link.on_all(DOWN);
    until_status(&client, is_stale).await;
    assert!(soon(client.refresh_if_stale()).await.is_err());
    backend.link.clear(Operation::List);
    assert!(soon(client.refresh_if_stale()).await.unwrap());
    assert!(!client.refresh_if_stale().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_given_up_goes_on() {
    let backend = Backend::polled();
    let client = backend.discover().await;
    backend.put_for_long("mail", "http://10.0.0.7").await;
    backend.link.once(Operation::List, Fault::Delay(SECOND));
    assert!(tokio::time::timeout(MS, client.refresh()).await.is_err());
    sleep(SECOND).await;
    assert!(client.pick("mail").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_after_the_shutdown_is_closed() {
    let backend = Backend::new();
    let client = backend.discover().await;
    backend.link.on(Operation::List, Fault::Hang);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.refresh().await }
    });
    settle().await;
    client.shutdown().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.refresh().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.refresh_if_stale().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_read_does_not_undo_what_events_said_meanwhile() {
    let backend = Backend::new();
    let gone = backend.put_for_long("mail", "http://10.0.0.1").await;
    backend.put_for_long("mail", "http://10.0.0.2").await;
    let client = backend.discover().await;
    sleep(LEASE).await;
    backend.link.once(Operation::List, Fault::HangAfter);
    let refresh = tokio::spawn({
        let client = client.clone();
        async move { client.refresh().await }
    });
    settle().await;
    backend.memory.deregister(&gone).await.unwrap();
    backend.put_for_long("mail", "http://10.0.0.3").await;
    settle().await;
    backend.link.clear(Operation::List);
    soon(refresh).await.unwrap().unwrap();
    assert_eq!(urls(&client, "mail"), ["http://10.0.0.2", "http://10.0.0.3"]);
}

#[tokio::test(start_paused = true)]
async fn a_driver_without_a_watch_is_polled() {
    let backend = Backend::polled();
    let client = backend.discover().await;
    let times = backend.times(Operation::List, 100).await;
    for pair in times.windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(INTERVAL) <= INTERVAL / 10 + MS);
    }
    backend.put_for_long("mail", "http://10.0.0.7").await;
    let came = Instant::now();
    soon(client.next("mail")).await.unwrap();
    assert!(came.elapsed() <= INTERVAL + INTERVAL / 10 + MS);

    // While reads fail, the client polls more often, but no more than the interval allows.
    backend.link.on(Operation::List, DOWN);
    until_status(&client, is_stale).await;
    let times = backend.times(Operation::List, 20).await;
    assert!(times[1] - times[0] < SECOND);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= INTERVAL + MS));
    assert!(*times.last().unwrap() - times[10] > 9 * INTERVAL / 2);
    assert!(matches!(client.status().view, View::Stale { .. }));
    backend.link.clear_all();
    let back = Instant::now();
    until_status(&client, is_well).await;
    assert!(back.elapsed() <= INTERVAL + MS);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_under_way_is_answered_when_the_watch_is_back() {
    for _ in 0..20 {
        let backend = Backend::new();
        let client = backend.discover().await;
        sleep(3 * LEASE).await;
        backend.link.on_all(DOWN);
        until_status(&client, is_stale).await;
        sleep(20 * SECOND).await;
        let begun = Instant::now();
        let refresh = async {
            assert!(soon(client.refresh_if_stale()).await.unwrap());
        };
        // The database comes back just after the first attempt has failed.
        let back = async {
            settle().await;
            backend.link.clear_all();
        };
        tokio::join!(refresh, back);
        assert!(begun.elapsed() <= 2 * INTERVAL, "{:?}", begun.elapsed());
    }
}
