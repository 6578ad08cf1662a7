//! Lookups that wait for a service to appear.

use std::sync::Arc;

use futures_util::FutureExt;
use gosd_core::{Client, Driver, Error, ErrorKind, Instance, Settings};
use gosd_testkit::{Fault, Operation};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, DOWN, LEASE, MS, NO_TIME, SECOND, is_stale, is_well, settle, soon, tasks, until_status,
};

/// How long `next` waits by default.
const BOUND: std::time::Duration = std::time::Duration::from_secs(15);

/// Starts a lookup in a task, which returns the URL or the error, and the time.
fn lookup(client: &Client, service: &'static str) -> JoinHandle<(Result<String, Error>, Instant)> {
    let client = client.clone();
    tokio::spawn(async move {
        let found = client.next(service).await.map(|it| it.url().to_owned());
        (found, Instant::now())
    })
}

#[tokio::test(start_paused = true)]
async fn a_lookup_wakes_with_the_event() {
    let backend = Backend::new();
    let client = backend.discover().await;
    let waiting = lookup(&client, "mail");
    let mut handle = client.service("mail");
    let by_handle = tokio::spawn(async move { (handle.next().await.unwrap(), Instant::now()) });
    sleep(7 * SECOND + 321 * MS).await;
    assert!(!waiting.is_finished());
    backend.put_for_long("web", "http://10.0.0.9").await;
    settle().await;
    assert!(!waiting.is_finished(), "another service is none of its business");
    let came = Instant::now();
    backend.put_for_long("mail", "http://10.0.0.7").await;
    let (found, at) = soon(waiting).await.unwrap();
    assert_eq!((found.unwrap().as_str(), at), ("http://10.0.0.7", came));
    assert_eq!(soon(by_handle).await.unwrap().1, came);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_wakes_when_the_backend_is_back_and_for_local_entries() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.7").await;
    backend.link.on_all(DOWN);
    let client = backend.discover().await;
    let (waiting, local) = (lookup(&client, "mail"), lookup(&client, "web"));
    sleep(SECOND).await;
    client.add_local("web", "http://10.0.0.8").unwrap();
    assert_eq!(soon(local).await.unwrap().1.elapsed(), NO_TIME);
    backend.link.clear_all();
    until_status(&client, is_well).await;
    let back = Instant::now();
    let (found, at) = soon(waiting).await.unwrap();
    assert_eq!((found.unwrap().as_str(), at), ("http://10.0.0.7", back));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_of_what_never_comes_is_not_found_in_the_time_that_the_settings_say() {
    let backend = Backend::new();
    for (settings, bound) in [
        (Settings::default(), BOUND),
        (Settings::default().try_find_service_amount(2), 6 * SECOND),
        (Settings::default().try_find_service_delay(100 * MS), 500 * MS),
        (Settings::default().try_find_service_amount(0), NO_TIME),
    ] {
        let client = backend.discover_with(settings).await;
        let begun = Instant::now();
        let error = soon(client.next("mial")).await.unwrap_err();
        assert!(begun.elapsed().abs_diff(bound) <= MS, "{:?}, not {bound:?}", begun.elapsed());
        assert_eq!((error.kind(), error.driver()), (ErrorKind::NotFound, Some("memory")));
        assert!(error.to_string().contains("\"mial\""), "{error}");
        assert!(client.pick("mial").is_none() && client.services().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn not_found_is_returned_in_an_outage_too_after_a_good_read() {
    let backend = Backend::new();
    let client = backend.discover().await;
    backend.link.on_all(DOWN);
    until_status(&client, is_stale).await;
    assert_eq!(soon(client.next("mail")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn before_anything_was_read_a_lookup_is_unavailable_and_says_why() {
    for fault in [DOWN, Fault::Hang] {
        let backend = Backend::polled();
        backend.link.on_all(fault);
        let client = backend.discover().await;
        let begun = Instant::now();
        let error = soon(client.next("mail")).await.unwrap_err();
        assert_eq!((error.kind(), error.driver()), (ErrorKind::Unavailable, Some("memory")));
        assert!(begun.elapsed().abs_diff(BOUND) <= MS);
        let cause = std::error::Error::source(&error).unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(cause.operation(), Some("list"));
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_view_older_than_allowed_lookups_fail_until_contact_is_back() {
    let backend = Backend::new();
    backend.put_for_long("mail", "http://10.0.0.7").await;
    let client = backend.discover_with(Settings::default().max_stale(60 * SECOND)).await;
    let mut handle = client.service("mail");
    backend.link.on_all(DOWN);
    until_status(&client, is_stale).await;
    sleep(59 * SECOND).await;
    assert!(client.pick("mail").is_some() && handle.pick().is_some());
    sleep(2 * SECOND).await;
    assert!(client.pick("mail").is_none() && handle.pick().is_none());
    for _ in 0..2 {
        let begun = Instant::now();
        let error = soon(client.next("mail")).await.unwrap_err();
        assert_eq!((error.kind(), error.driver()), (ErrorKind::Stale, Some("memory")));
        assert_eq!(soon(handle.next()).await.unwrap_err().kind(), ErrorKind::Stale);
        assert_eq!(begun.elapsed(), NO_TIME);
        sleep(3_600 * SECOND).await;
    }
    backend.link.clear_all();
    until_status(&client, is_well).await;
    assert!(client.pick("mail").is_some() && handle.pick().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lookup_in_a_view_that_grows_too_old_says_so() {
    let backend = Backend::new();
    let client = backend.discover_with(Settings::default().max_stale(10 * SECOND)).await;
    backend.link.on_all(DOWN);
    until_status(&client, is_stale).await;
    assert_eq!(soon(client.next("mail")).await.unwrap_err().kind(), ErrorKind::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_lookup_ends_with_the_client() {
    let backend = Backend::new();
    let client = backend.discover().await;
    let waiting = lookup(&client, "mail");
    sleep(SECOND).await;
    client.shutdown().await.unwrap();
    let (found, at) = soon(waiting).await.unwrap();
    assert_eq!((found.unwrap_err().kind(), at.elapsed()), (ErrorKind::Closed, NO_TIME));
    assert_eq!(client.next("mail").await.unwrap_err().kind(), ErrorKind::Closed);

    // A handle does not keep the client alive.
    let client = backend.discover().await;
    let mut handle = client.service("mail");
    let waiting = tokio::spawn(async move { handle.next().await });
    settle().await;
    drop(client);
    assert_eq!(soon(waiting).await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_is_dropped_takes_no_turn_and_leaves_nothing_behind() {
    let backend = Backend::new();
    let client = backend.discover().await;
    let before = tasks().await;
    for _ in 0..100 {
        assert!(client.next("mail").now_or_never().is_none());
        assert!(tokio::time::timeout(MS, client.next("mail")).await.is_err());
    }
    let mut cut = Box::pin(client.next("mail"));
    assert!(cut.as_mut().now_or_never().is_none());
    for i in 0..3 {
        backend.put_for_long("mail", &format!("http://10.0.0.{i}")).await;
    }
    settle().await;
    let first = client.next("mail").await.unwrap();
    drop(cut);
    let round = [first, client.next("mail").await.unwrap(), client.next("mail").await.unwrap()];
    assert!(round[0] != round[1] && round[1] != round[2] && round[0] != round[2]);
    assert_eq!(tasks().await, before);
}

#[tokio::test(start_paused = true)]
async fn all_ways_to_pick_share_one_turn() {
    let backend = Backend::new();
    for i in 0..4 {
        backend.put_for_long("mail", &format!("http://10.0.0.{i}")).await;
    }
    let client = backend.discover().await;
    let clone = client.clone();
    let (mut one, mut other) = (client.service("mail"), clone.service("mail"));
    let mut third = one.clone();
    let mut order = client.instances("mail");
    let first = client.pick("mail").unwrap();
    let start = order.iter().position(|it| Arc::ptr_eq(it, &first)).unwrap();
    order.rotate_left(start);
    assert_eq!(*one.pick().unwrap(), order[1]);
    assert_eq!(*other.pick().unwrap(), order[2]);
    assert_eq!(third.next().await.unwrap(), order[3]);
    assert_eq!(clone.next("mail").await.unwrap(), order[0]);
    // The rotation goes on after a refresh or a change.
    client.refresh().await.unwrap();
    assert_eq!(client.pick("mail").unwrap(), order[1]);
    let updated = (*order[3]).clone().with_metadata("weight", "2");
    backend.memory.register(&updated, LEASE).await.unwrap();
    settle().await;
    assert_eq!(*one.pick().unwrap(), order[2]);
    assert_eq!(**other.pick().unwrap(), updated);
    assert_eq!(backend.link.calls(Operation::List), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_name_is_refused_at_once_unless_it_is_registered() {
    let backend = Backend::new();
    let client = backend.discover().await;
    for name in ["no pe", "", "http://u:sesame@h"] {
        let asked = Instant::now();
        for error in [client.next(name).await, client.service(name).next().await] {
            let error = error.unwrap_err();
            assert_eq!((error.kind(), error.operation()), (ErrorKind::Config, Some("next")));
            assert!(!format!("{error:?}").contains("sesame"), "{error:?}");
        }
        assert_eq!(asked.elapsed(), NO_TIME, "{name}");
    }
    // Other software may give a service any name.
    let odd = Instance::from_parts("odd-1".into(), "no pe", "http://10.0.0.7", [].into());
    backend.memory.register(&odd, LEASE).await.unwrap();
    settle().await;
    assert_eq!(client.next("no pe").await.unwrap().url(), "http://10.0.0.7");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_names_a_service_that_differs_only_in_case() {
    let backend = Backend::new();
    backend.put_for_long("Mail", "http://10.0.0.7").await;
    let client = backend.discover().await;
    let error = client.next("mail").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("there is \"Mail\""), "{error}");
    let error = client.next("mai").await.unwrap_err();
    assert!(error.to_string().contains("is it running"), "{error}");
}
