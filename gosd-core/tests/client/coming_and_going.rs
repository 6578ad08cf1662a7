//! A client withdraws for a while, comes back, and says something else of itself.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use gosd_core::{ErrorKind, Registration};
use gosd_testkit::{Fault, Operation};
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, DOWN, LEASE, NO_TIME, SECOND, is_well, settle, soon, until_seen, until_status,
};

#[tokio::test(start_paused = true)]
async fn who_is_not_ready_is_gone_at_once_and_back_at_once() {
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
    assert!(backend.holds(mail.id().unwrap()).await, "the last word counts");
}

#[tokio::test(start_paused = true)]
async fn who_starts_unready_is_registered_by_the_first_word_of_it() {
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

    // One that never was ready has no goodbye to say.
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

    // A goodbye that fails ends with the lease, and nothing registers it meanwhile.
    backend.link.on(Operation::Deregister, Fault::Hang);
    assert_eq!(soon(mail.set_ready(false)).await.unwrap_err().kind(), ErrorKind::Timeout);
    backend.link.clear_all();
    sleep(LEASE).await;
    assert!(!backend.holds(mail.id().unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_to_wait_for_it() {
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
async fn what_cannot_be_ready_says_so() {
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

    // Told while it is withdrawn, it counts from when it is back.
    mail.set_ready(false).await.unwrap();
    mail.set_metadata(BTreeMap::new()).await.unwrap();
    assert!(!backend.holds(mail.id().unwrap()).await);
    mail.set_ready(true).await.unwrap();
    settle().await;
    assert!(user.pick("mail").unwrap().metadata().is_empty());
}
