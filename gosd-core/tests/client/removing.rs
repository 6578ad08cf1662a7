//! `deregister_url`, which removes all instances with a URL.

use gosd_core::ErrorKind;
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{Backend, DOWN, LEASE, MS, SECOND, settle, soon, until_seen};

const URL: &str = "http://10.0.0.1";

#[tokio::test(start_paused = true)]
async fn every_instance_of_the_url_is_removed_and_counted() {
    for backend in [Backend::new(), Backend::polled()] {
        let client = backend.discover().await;
        backend.put_for_long("mail", URL).await;
        backend.put_for_long("mail", URL).await;
        backend.put_for_long("web", URL).await;
        let other = backend.put_for_long("mail", "http://10.0.0.2").await;
        let local = client.add_local("mail", URL).unwrap();
        assert_eq!(client.deregister_url(URL).await.unwrap(), 3);
        let left: Vec<_> = client.instances("mail").iter().map(|it| it.id().clone()).collect();
        assert_eq!(left.len(), 2, "without waiting for an event");
        assert!(left.contains(&other) && left.contains(&local));
        assert!(backend.holds(&other).await);
        assert_eq!(client.deregister_url(URL).await.unwrap(), 0);
        assert_eq!(client.deregister_url("nobody's").await.unwrap(), 0);
        assert_eq!(backend.link.calls(Operation::Deregister), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slash_at_the_end_of_the_url_makes_no_difference() {
    let backend = Backend::new();
    let client = backend.discover().await;
    for (registered, given) in [("http://10.0.0.1/", URL), (URL, "http://10.0.0.1/"), (URL, URL)] {
        backend.put_for_long("mail", registered).await;
        assert_eq!(client.deregister_url(given).await.unwrap(), 1, "{registered} {given}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_owner_notices_the_removal_and_registers_again() {
    let backend = Backend::new();
    let owner = backend.register("mail", URL).await;
    let other = backend.discover().await;
    // The owner may call it as well.
    for client in [&other, &owner] {
        assert_eq!(client.deregister_url(URL).await.unwrap(), 1);
        assert!(!backend.holds(owner.id().unwrap()).await);
        until_seen(&other, "mail", 0).await;
        let gone = Instant::now();
        until_seen(&other, "mail", 1).await;
        assert!(gone.elapsed() <= SECOND + MS);
        until_seen(&owner, "mail", 1).await;
        assert!(backend.holds(owner.id().unwrap()).await);
        sleep(LEASE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_returned_and_the_other_instances_are_removed() {
    let backend = Backend::new();
    for _ in 0..3 {
        backend.put_for_long("mail", URL).await;
    }
    let client = backend.discover().await;
    backend.link.once(Operation::Deregister, Fault::Fail(ErrorKind::Denied));
    let error = client.deregister_url(URL).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Denied, Some("deregister")));
    settle().await;
    assert_eq!(client.instances("mail").len(), 1);
    assert_eq!(client.deregister_url(URL).await.unwrap(), 1);

    backend.put_for_long("mail", URL).await;
    backend.link.on(Operation::List, DOWN);
    let error = soon(client.deregister_url(URL)).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some("list")));
    backend.link.clear_all().on(Operation::Deregister, Fault::Hang);
    assert_eq!(soon(client.deregister_url(URL)).await.unwrap_err().kind(), ErrorKind::Timeout);
}
