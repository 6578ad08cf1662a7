//! However a client ends, it leaves no task, call or connection behind.

use futures_util::{FutureExt, StreamExt};
use gosd_core::{Client, Driver, ErrorKind, Settings, View};
use gosd_testkit::{Fault, Operation};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::support::{Backend, DOWN, LEASE, SECOND, settle, tasks};

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_stops_the_work_on_a_silent_stream() {
    let backend = Backend::new();
    let client = backend.register("mail", "http://10.0.0.1").await;
    let (clone, handle) = (client.clone(), client.service("mail"));
    let changes = client.changes();
    assert_eq!(tasks().await, 2);
    drop(client);
    assert_eq!(tasks().await, 2, "a clone is left");
    drop(clone);
    assert_eq!(tasks().await, 0, "handles and streams do not count");
    assert_eq!(backend.link.under_way(Operation::Watch), 0);
    drop((handle, changes));

    // The drop is no goodbye, and the lease ends the registration.
    sleep(LEASE - 2 * SECOND).await;
    assert_eq!(backend.elsewhere().discover().await.instances("mail").len(), 1);
    sleep(2 * SECOND).await;
    assert!(backend.elsewhere().discover().await.pick("mail").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_can_be_dropped_in_the_middle_of_anything() {
    for fault in [Fault::Hang, Fault::HangAfter, Fault::Delay(SECOND), DOWN] {
        for operation in Operation::ALL {
            let backend = Backend::new();
            let client = backend.register("mail", "http://10.0.0.1").await;
            backend.link.on(operation, fault);
            let mut refresh = Box::pin(client.refresh());
            assert!(refresh.as_mut().now_or_never().is_none());
            sleep(LEASE / 2).await;
            let mut leave = Box::pin(client.leave());
            assert!(leave.as_mut().now_or_never().is_none());
            settle().await;
            drop((refresh, leave));
            drop(client);
            assert_eq!(tasks().await, 0);
            assert!(Operation::ALL.iter().all(|it| backend.link.under_way(*it) == 0));
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn a_client_outlives_its_runtime_without_a_panic() {
    let backend = Backend::new();
    let (one, other) = (runtime(), runtime());
    let settings = Settings::default().max_stale(3_600 * SECOND);
    let builder = backend.builder().register("mail", "http://10.0.0.1").settings(settings);
    let client = one.block_on(builder.start()).unwrap();
    let mut handle = client.service("web");
    let clone = client.clone();
    // These futures wait already, on timers of the runtime that ends.
    let mut lookup = Box::pin(async { handle.next().await });
    let mut refresh = Box::pin(client.refresh());
    let mut statuses = client.status_changes();
    let waits = other.block_on(async {
        lookup.as_mut().now_or_never().is_none() && refresh.as_mut().now_or_never().is_none()
    });
    assert!(waits);
    drop(one);

    other.block_on(async {
        assert_eq!(lookup.await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(refresh.await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(client.refresh().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(client.next("web").await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(client.next("mail").await.unwrap().url(), "http://10.0.0.1");
        assert_eq!(client.leave().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(client.shutdown().await.unwrap_err().kind(), ErrorKind::Closed);
        assert!(client.deregister_url("http://10.0.0.1").await.is_err());
        while statuses.next().await.is_some() {}
    });
    assert!(client.pick("mail").is_some());
    client.add_local("web", "http://10.0.0.2").unwrap();
    drop(client);
    drop(clone);
}

#[test]
fn a_waiting_lookup_survives_the_end_of_its_runtime() {
    // Chance decides which comes first, the end of the runtime or that of the wait. Fifty runs have both.
    for _ in 0..50 {
        let backend = Backend::new();
        let one = runtime();
        let client = one.block_on(backend.builder().start()).unwrap();
        let mut lookup = Box::pin(client.next("mail"));
        assert!(lookup.as_mut().now_or_never().is_none());
        drop(one);
        let error = lookup.now_or_never().expect("it is over").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

#[test]
fn a_client_can_be_used_from_outside_its_runtime() {
    let backend = Backend::new();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let client = runtime.block_on(backend.builder().register("mail", "http://h").start()).unwrap();
    assert!(client.pick("mail").is_some());
    assert!(client.next("web").now_or_never().is_none());
    assert!(client.next("mail").now_or_never().is_some());
    assert!(client.refresh().now_or_never().is_none_or(|read| read.is_ok()));
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_come_and_go() {
    let backend = Backend::new();
    let clients = (0..50).map(|i| {
        let builder = backend.builder().register("mail", &format!("http://10.0.0.7/{i}"));
        tokio::spawn(async move {
            let client: Client = builder.start().await.unwrap();
            client.next("mail").await.unwrap();
            client.shutdown().await.unwrap();
            assert!(matches!(client.status().view, View::Stale { .. }));
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert!(backend.memory.list().await.unwrap().is_empty());
    let metrics = tokio::runtime::Handle::current().metrics();
    // The threads of the runtime end stopped tasks meanwhile.
    let ended = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(60 * SECOND, ended).await.expect("tasks were left behind");
}
