//! Selections of a service's instances, by their metadata and by a key.

use std::collections::{BTreeMap, BTreeSet};

use gosd_core::{Client, ErrorKind, Instance, InstanceId, Outcome, Service};

use crate::support::{Backend, settle, soon};

const EACH: usize = 3;

/// A client that sees `EACH` instances in zone `a`, and as many in `b`.
async fn zones(backend: &Backend) -> Client {
    for i in 0..2 * EACH {
        put(backend, i, if i % 2 == 0 { "a" } else { "b" }).await;
    }
    let client = backend.discover().await;
    settle().await;
    client
}

async fn put(backend: &Backend, number: usize, zone: &str) {
    use gosd_core::Driver;

    let id = format!("mail-{number}").into();
    let instance = Instance::from_parts(id, "mail", "http://10.0.0.1", BTreeMap::new());
    let lease = std::time::Duration::from_secs(86_400);
    backend.memory.register(&instance.with_metadata("zone", zone), lease).await.unwrap();
    settle().await;
}

async fn remove(backend: &Backend, number: usize) {
    use gosd_core::Driver;

    backend.memory.deregister(&format!("mail-{number}").into()).await.unwrap();
    settle().await;
}

fn in_zone(client: &Client, zone: &'static str) -> Service {
    client.service_where("mail", move |it| it.metadata().get("zone").is_some_and(|it| it == zone))
}

fn picks(service: &mut Service, count: usize) -> Vec<InstanceId> {
    (0..count).map(|_| service.pick().unwrap().id().clone()).collect()
}

fn round(service: &mut Service, count: usize) -> BTreeSet<String> {
    let round: BTreeSet<_> = picks(service, count).iter().map(ToString::to_string).collect();
    assert_eq!(round.len(), count, "a round takes each once");
    round
}

fn set(numbers: &[usize]) -> BTreeSet<String> {
    numbers.iter().map(|number| format!("mail-{number}")).collect()
}

fn fail(client: &Client, number: usize) {
    for _ in 0..3 {
        client.report(&format!("mail-{number}").into(), Outcome::Unreachable);
    }
}

#[tokio::test(start_paused = true)]
async fn matching_instances_have_their_own_rotation() {
    let client = zones(&Backend::new()).await;
    let mut near = in_zone(&client, "a");
    let order = picks(&mut near, EACH);
    let mut clone = near.clone();
    for i in 0..40 {
        // Picks through other handles do not advance this rotation.
        client.pick("mail").unwrap();
        let handle = if i % 3 == 0 { &mut clone } else { &mut near };
        assert_eq!(picks(handle, 1)[0], order[i % EACH]);
    }
    assert_eq!(round(&mut near, EACH), set(&[0, 2, 4]));
    assert!(in_zone(&client, "c").pick().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_waited_for_until_an_instance_matches() {
    let backend = Backend::new();
    let client = zones(&backend).await;
    let mut near = in_zone(&client, "c");
    let waiting = tokio::spawn(async move { near.next_turn().await });
    settle().await;
    assert!(!waiting.is_finished());
    put(&backend, 2 * EACH, "c").await;
    let turn = soon(waiting).await.unwrap().unwrap();
    assert_eq!(turn.instance().id().as_str(), "mail-6");
    let error = in_zone(&client, "d").next_turn().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_selection_s_rotation_goes_on_whatever_happens_to_other_instances() {
    let backend = Backend::new();
    let client = zones(&backend).await;
    // Then the last instance, which takes the place of one that is gone, matches too.
    put(&backend, 6, "a").await;
    let mut near = in_zone(&client, "a");
    let order = picks(&mut near, 4);
    for round in 0..3 {
        match round {
            0 => remove(&backend, 1).await,
            1 => put(&backend, 7, "b").await,
            _ => fail(&client, 3),
        }
        assert_eq!(picks(&mut near, 5), [&order[round..], &order[..=round]].concat());
    }
    // A new instance comes last, and one whose metadata no longer matches is out.
    put(&backend, 8, "a").await;
    assert_eq!(round(&mut near, 5), set(&[0, 2, 4, 6, 8]));
    put(&backend, 2, "b").await;
    assert_eq!(round(&mut near, 4), set(&[0, 4, 6, 8]));
}

#[tokio::test(start_paused = true)]
async fn others_serve_if_nobody_matches_only_where_that_was_asked_for() {
    let backend = Backend::new();
    let client = zones(&backend).await;
    let mut strict = in_zone(&client, "a");
    let mut lenient = in_zone(&client, "a").or_else_all();
    for number in [0, 2, 4] {
        assert_eq!(round(&mut lenient, EACH), set(&[0, 2, 4]));
        remove(&backend, number).await;
        if number < 4 {
            put(&backend, number, "a").await;
        }
    }
    assert_eq!(round(&mut lenient, 2), set(&[0, 2]));
    fail(&client, 0);
    fail(&client, 2);
    assert_eq!(round(&mut lenient, EACH), set(&[1, 3, 5]), "all that match are ejected");
    assert_eq!(round(&mut strict, 2), set(&[0, 2]), "better than nobody");
    client.report(&"mail-2".into(), Outcome::Answered);
    assert_eq!(picks(&mut lenient, 2), ["mail-2", "mail-2"].map(InstanceId::from));
    assert_eq!(picks(&mut strict, 2), ["mail-2", "mail-2"].map(InstanceId::from));
}

#[tokio::test(start_paused = true)]
async fn a_turn_keeps_to_those_that_match_and_then_goes_on_to_the_others() {
    let client = zones(&Backend::new()).await;
    for (lenient, expected) in [(false, EACH), (true, 2 * EACH)] {
        let near = in_zone(&client, "a");
        let mut near = if lenient { near.or_else_all() } else { near };
        let (mut turn, mut tried) = (near.turn(), Vec::new());
        while let Some(now) = turn {
            tried.push(now.instance().metadata()["zone"].clone());
            turn = now.failed(Outcome::Refused);
        }
        assert_eq!(tried.len(), expected);
        assert!(tried[..EACH].iter().all(|zone| zone == "a"), "{tried:?}");
        assert!(tried[EACH..].iter().all(|zone| zone == "b"), "{tried:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_comes_last_to_the_ejected_of_its_selection() {
    for (lenient, last) in [(false, &[0][..]), (true, &[0, 1])] {
        let client = zones(&Backend::new()).await;
        fail(&client, 0);
        fail(&client, 1);
        let near = in_zone(&client, "a");
        let mut near = if lenient { near.or_else_all() } else { near };
        let (mut turn, mut tried) = (near.turn(), Vec::new());
        while let Some(now) = turn {
            tried.push(now.instance().id().to_string());
            turn = now.failed(Outcome::Unreachable);
        }
        assert_eq!(tried.len(), if lenient { 2 * EACH } else { EACH });
        let end = tried.split_off(tried.len() - last.len());
        assert_eq!(end.into_iter().collect::<BTreeSet<_>>(), set(last));
    }
}

#[tokio::test(start_paused = true)]
async fn a_selection_s_predicate_may_call_the_client() {
    let client = zones(&Backend::new()).await;
    let inner = std::sync::Mutex::new(in_zone(&client, "a"));
    let mut outer = client.service_where("mail", move |it| {
        inner.lock().unwrap().pick().is_some() && it.metadata()["zone"] == "b"
    });
    assert_eq!(round(&mut outer, EACH), set(&[1, 3, 5]));
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_with_its_instance() {
    let backend = Backend::new();
    let client = zones(&backend).await;
    let (mut one, mut other) = (client.service("mail"), backend.discover().await.service("mail"));
    let keys: Vec<[u8; 4]> = (0..1_000_u32).map(u32::to_be_bytes).collect();
    let owners = |service: &mut Service| -> Vec<InstanceId> {
        keys.iter().map(|key| service.pick_for(key).unwrap().id().clone()).collect()
    };
    let before = owners(&mut one);
    assert_eq!(owners(&mut other), before, "in every process");
    assert_eq!(client.stats().services[0].picks, 0, "it takes no turn");
    fail(&client, 1);
    for (was, is) in before.iter().zip(owners(&mut one)) {
        assert_eq!(*was == is, was.as_str() != "mail-1");
    }
    client.report(&"mail-1".into(), Outcome::Answered);
    assert_eq!(owners(&mut one), before, "and it has its own again when it is back");
    remove(&backend, 4).await;
    for (was, is) in before.iter().zip(owners(&mut one)) {
        assert_eq!(*was == is, was.as_str() != "mail-4");
    }
    let mut near = in_zone(&client, "a");
    assert!(keys.iter().all(|key| near.pick_for(key).unwrap().metadata()["zone"] == "a"));
    assert!(client.service("none").pick_for(b"key").is_none());
}
