//! A client that withdraws for a while, comes back, and changes its metadata.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use gosd_core::{Client, Driver, ErrorKind, Instance, Registration, Status};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, DOWN, INTERVAL, LEASE, NO_TIME, SECOND, is_well, settle, soon, until_seen,
    until_status, urls,
};

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_not_ready_is_gone_at_once_and_back_at_once() {
    for backend in [Backend::new(), Backend::polled()] {
        let mail = backend.register("mail", "http://10.0.0.1").await;
        let id = mail.id().unwrap().clone();
        for _ in 0..3 {
            let begun = Instant::now();
            mail.set_ready(false).await.unwrap();
            assert!(!backend.holds(&id).await && mail.pick("mail").is_none());
            assert!(matches!(mail.status().registration, Registration::Withdrawn));
            let calls = backend.link.calls(Operation::Register);
            sleep(10 * LEASE).await;
            assert_eq!(backend.link.calls(Operation::Register), calls, "no heartbeat");
            backend.put("web", "http://10.0.0.2", LEASE).await;
            soon(mail.next("web")).await.unwrap();

            mail.set_ready(true).await.unwrap();
            assert!(backend.holds(&id).await && mail.pick("mail").is_some());
            assert!(matches!(mail.status().registration, Registration::Registered));
            assert!(begun.elapsed() < 12 * LEASE);
            sleep(10 * LEASE).await;
            assert!(backend.holds(&id).await, "its heartbeats go on");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn withdrawing_twice_says_one_goodbye_and_coming_back_twice_is_once() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    mail.set_ready(false).await.unwrap();
    mail.set_ready(false).await.unwrap();
    assert_eq!(backend.link.calls(Operation::Deregister), 1);
    mail.set_ready(true).await.unwrap();
    mail.set_ready(true).await.unwrap();
    let (away, back) = (mail.clone(), mail.clone());
    let (one, other) = tokio::join!(away.set_ready(false), back.set_ready(true));
    assert!(one.is_ok() && other.is_ok());
    settle().await;
    assert!(backend.holds(mail.id().unwrap()).await, "the last call counts");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_starts_unready_registers_once_it_is_ready() {
    let backend = Backend::new();
    let begun = Instant::now();
    let builder = backend.builder().register("mail", "http://10.0.0.1");
    let mail = soon(builder.start_unready().start()).await.unwrap();
    assert_eq!(begun.elapsed(), NO_TIME);
    assert!(matches!(mail.status().registration, Registration::Withdrawn));
    sleep(10 * LEASE).await;
    assert_eq!(backend.link.calls(Operation::Register), 0);
    mail.set_ready(true).await.unwrap();
    assert!(backend.holds(mail.id().unwrap()).await);
    mail.shutdown().await.unwrap();
    assert!(!backend.holds(mail.id().unwrap()).await);

    // A client that was never ready sends no goodbye.
    let builder = backend.builder().register("mail", "http://10.0.0.1");
    let mail = soon(builder.start_unready().start()).await.unwrap();
    let calls = backend.link.calls(Operation::Deregister);
    mail.shutdown().await.unwrap();
    assert_eq!(backend.link.calls(Operation::Deregister), calls);
}

#[tokio::test(start_paused = true)]
async fn coming_back_to_a_backend_that_is_down_is_retried() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    mail.set_ready(false).await.unwrap();
    backend.link.on_all(DOWN);
    let error = soon(mail.set_ready(true)).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some("register")));
    assert!(matches!(mail.status().registration, Registration::Standalone { .. }));
    backend.link.clear_all();
    until_status(&mail, is_well).await;
    assert!(backend.holds(mail.id().unwrap()).await);

    // After a goodbye that fails, the lease ends the registration, and nothing renews it meanwhile.
    backend.link.on(Operation::Deregister, Fault::Hang);
    assert_eq!(soon(mail.set_ready(false)).await.unwrap_err().kind(), ErrorKind::Timeout);
    backend.link.clear_all();
    sleep(LEASE).await;
    assert!(!backend.holds(mail.id().unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn set_ready_takes_effect_even_if_its_future_is_dropped() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    assert!(mail.set_ready(false).now_or_never().is_none());
    settle().await;
    assert!(!backend.holds(mail.id().unwrap()).await);
    assert!(mail.set_ready(true).now_or_never().is_none());
    settle().await;
    assert!(backend.holds(mail.id().unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_told_even_if_the_future_is_dropped() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    let metadata = BTreeMap::from([("zone".to_owned(), "b".to_owned())]);
    assert!(mail.set_metadata(metadata.clone()).now_or_never().is_none());
    settle().await;
    assert_eq!(backend.memory.list().await.unwrap()[0].metadata(), &metadata);
}

#[tokio::test(start_paused = true)]
async fn set_ready_and_set_metadata_fail_without_a_registration() {
    let backend = Backend::new();
    let user = backend.discover().await;
    for ready in [true, false] {
        assert_eq!(user.set_ready(ready).await.unwrap_err().kind(), ErrorKind::Config);
    }
    assert_eq!(user.set_metadata(BTreeMap::new()).await.unwrap_err().kind(), ErrorKind::Config);
    for end in [0, 1] {
        let mail = backend.register("mail", "http://10.0.0.1").await;
        match end {
            0 => mail.leave().await.unwrap(),
            _ => mail.shutdown().await.unwrap(),
        }
        assert_eq!(mail.set_ready(true).await.unwrap_err().kind(), ErrorKind::Closed);
        let error = mail.set_metadata(BTreeMap::new()).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Closed, Some("set_metadata")));
        mail.set_ready(false).await.unwrap();
        assert!(matches!(mail.status().registration, Registration::Left));
        assert!(!backend.holds(mail.id().unwrap()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn others_see_new_metadata_at_once_and_after_a_wipe() {
    let backend = Backend::new();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    let user = backend.discover().await;
    until_seen(&user, "mail", 1).await;
    let metadata = BTreeMap::from([("zone".to_owned(), "b".to_owned())]);
    mail.set_metadata(metadata.clone()).await.unwrap();
    settle().await;
    assert_eq!(user.pick("mail").unwrap().metadata(), &metadata);
    assert_eq!(mail.pick("mail").unwrap().metadata(), &metadata);
    backend.memory.wipe();
    sleep(2 * SECOND).await;
    assert_eq!(user.pick("mail").unwrap().metadata(), &metadata);

    let too_much = (0..33).map(|i| (i.to_string(), String::new())).collect();
    assert_eq!(mail.set_metadata(too_much).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(mail.pick("mail").unwrap().metadata(), &metadata);

    // Metadata that is set while the client is withdrawn counts once it is back.
    mail.set_ready(false).await.unwrap();
    mail.set_metadata(BTreeMap::new()).await.unwrap();
    assert!(!backend.holds(mail.id().unwrap()).await);
    mail.set_ready(true).await.unwrap();
    settle().await;
    assert!(user.pick("mail").unwrap().metadata().is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_changes_are_polled_a_goodbye_is_seen_at_the_next_read() {
    let backend = Backend::polled();
    let mail = backend.register("mail", "http://10.0.0.1").await;
    let user = backend.discover().await;
    until_seen(&user, "mail", 1).await;
    for _ in 0..3 {
        let begun = Instant::now();
        mail.set_ready(false).await.unwrap();
        until_seen(&user, "mail", 0).await;
        assert!(begun.elapsed() <= INTERVAL + INTERVAL / 10, "{:?}", begun.elapsed());
        assert!(user.services().is_empty());
        mail.set_ready(true).await.unwrap();
        until_seen(&user, "mail", 1).await;
        assert!(user.pick("mail").is_some(), "nothing keeps it out of the rotation");
    }
    mail.shutdown().await.unwrap();
    sleep(3 * INTERVAL).await;
    assert!(backend.memory.list().await.unwrap().is_empty());
}

/// A client with a fixed id, such as the name of a pod.
async fn pod(backend: &Backend, url: &str) -> Client {
    let instance = Instance::from_parts("mail-0".into(), "mail", url, BTreeMap::new());
    soon(backend.builder().register_instance(instance).start()).await.unwrap()
}

fn is_replaced(status: &Status) -> bool {
    matches!(status.registration, Registration::Replaced)
}

#[tokio::test(start_paused = true)]
async fn the_goodbye_of_an_old_process_does_not_take_the_new_one_of_its_id() {
    let backend = Backend::new();
    let old = pod(&backend, "http://10.0.0.1").await;
    let user = backend.discover().await;
    sleep(2 * LEASE).await;
    let new = pod(&backend, "http://10.0.0.2").await;
    until_status(&old, is_replaced).await;
    sleep(4 * LEASE).await;
    assert_eq!(urls(&user, "mail"), ["http://10.0.0.2"]);
    assert!(is_well(&new.status()), "{:?}", new.status());
    old.shutdown().await.unwrap();
    assert!(backend.holds(new.id().unwrap()).await);
    sleep(LEASE).await;
    assert_eq!(urls(&user, "mail"), ["http://10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_that_start_with_one_id_the_later_soon_has_it() {
    let backend = Backend::new();
    let old = pod(&backend, "http://10.0.0.1").await;
    sleep(SECOND).await;
    let new = pod(&backend, "http://10.0.0.2").await;
    let begun = Instant::now();
    until_status(&old, is_replaced).await;
    assert!(begun.elapsed() <= SECOND, "{:?}", begun.elapsed());
    sleep(4 * LEASE).await;
    assert!(is_replaced(&old.status()) && is_well(&new.status()));
    old.shutdown().await.unwrap();
    assert_eq!(backend.memory.list().await.unwrap()[0].url(), "http://10.0.0.2");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_instance_is_back_when_its_replacement_is_gone() {
    for dies in [false, true] {
        let backend = Backend::new();
        let old = pod(&backend, "http://10.0.0.1").await;
        sleep(2 * LEASE).await;
        let new = pod(&backend, "http://10.0.0.2").await;
        until_status(&old, is_replaced).await;
        match dies {
            true => drop(new),
            false => new.shutdown().await.unwrap(),
        }
        until_status(&old, is_well).await;
        sleep(4 * LEASE).await;
        assert_eq!(urls(&old, "mail"), ["http://10.0.0.1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_replaced_client_is_told_neither_takes_the_id_back_nor_hides_the_new_instance() {
    for call in ["ready", "unready", "metadata", "leave"] {
        let backend = Backend::new();
        let old = pod(&backend, "http://10.0.0.1").await;
        sleep(2 * LEASE).await;
        let new = pod(&backend, "http://10.0.0.2").await;
        until_status(&old, is_replaced).await;
        match call {
            "ready" => old.set_ready(true).await.unwrap(),
            "unready" => old.set_ready(false).await.unwrap(),
            "metadata" => old.set_metadata(BTreeMap::new()).await.unwrap(),
            _ => old.leave().await.unwrap(),
        }
        for _ in 0..2 {
            assert_eq!(urls(&old, "mail"), ["http://10.0.0.2"], "{call}");
            let listed = backend.memory.list().await.unwrap();
            assert_eq!(listed[0].url(), "http://10.0.0.2", "{call}");
            assert!(is_well(&new.status()), "{call}");
            settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_under_way_does_not_replace_the_newcomer() {
    let backend = Backend::new();
    let far = backend.elsewhere();
    let old = pod(&far, "http://10.0.0.1").await;
    sleep(2 * LEASE).await;
    far.link.on(Operation::Register, Fault::Delay(2 * SECOND));
    far.times(Operation::Register, 1).await;
    let new = pod(&backend, "http://10.0.0.2").await;
    sleep(4 * LEASE).await;
    assert!(is_replaced(&old.status()) && is_well(&new.status()));
    assert_eq!(urls(&new, "mail"), ["http://10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_that_fail_are_tried_at_their_pace_while_another_process_has_the_id() {
    let backend = Backend::new();
    let _old = pod(&backend.elsewhere(), "http://10.0.0.1").await;
    backend.link.on(Operation::Register, DOWN);
    let new = pod(&backend, "http://10.0.0.2").await;
    assert_eq!(urls(&new, "mail"), ["http://10.0.0.1"]);
    let calls = backend.link.calls(Operation::Register);
    sleep(4 * LEASE).await;
    // The longest pause is a sixth of a lease, and at least half of that.
    let calls = backend.link.calls(Operation::Register) - calls;
    assert!(calls <= 4 * 12 + 5, "{calls} in 60 s");
    backend.link.clear_all();
    until_status(&new, is_well).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_again_at_its_address_is_in_the_rotation_once() {
    for backend in [Backend::new(), Backend::polled()] {
        let killed = backend.register("mail", "http://10.0.0.1").await;
        let other = backend.put_for_long("web", "http://10.0.0.1").await;
        let user = backend.discover().await;
        until_seen(&user, "mail", 1).await;
        drop(killed);
        let start = async || {
            let builder = backend.builder().register("mail", "http://10.0.0.1/");
            soon(builder.replace_at_same_url(true).start()).await.unwrap()
        };
        let again = start().await;
        let listed = backend.memory.list().await.unwrap();
        assert_eq!(listed.iter().filter(|it| it.service() == "mail").count(), 1);
        assert!(backend.holds(&other).await, "another service is none of its business");
        assert!(backend.holds(again.id().unwrap()).await);

        // A twin that lives registers again, and the two do not replace each other in turn.
        let twin = start().await;
        sleep(4 * LEASE).await;
        assert!(
            backend.holds(again.id().unwrap()).await && backend.holds(twin.id().unwrap()).await
        );
        let deregistered = backend.link.calls(Operation::Deregister);
        let _third = backend.register("mail", "http://10.0.0.1").await;
        assert_eq!(backend.link.calls(Operation::Deregister), deregistered);
    }
}
