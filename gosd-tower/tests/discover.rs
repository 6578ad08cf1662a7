//! The stream of instances for tower's balancers.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use gosd_core::{Client, Driver, Instance, InstanceId, Memory, Outcome};
use tower::balance::p2c::Balance;
use tower::discover::Change;
use tower::load::Constant;
use tower::{Service, ServiceExt, service_fn};

const LEASE: Duration = Duration::from_secs(600);

/// The items that are ready now, as `+url` and `-url`.
fn told(
    stream: &mut (impl Stream<Item = Result<Change<InstanceId, String>, Infallible>> + Unpin),
    gosd: &Client,
) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(Some(Ok(change))) = stream.next().now_or_never() {
        told.push(match change {
            Change::Insert(_, url) => format!("+{url}"),
            Change::Remove(id) => {
                let all = gosd.instances("orders");
                let url = all.iter().find(|it| *it.id() == id).map(|it| it.url().to_owned());
                format!("-{}", url.unwrap_or_default())
            }
        });
    }
    told
}

#[tokio::test]
async fn a_balancer_is_given_instances_that_come_go_and_fail() {
    let gosd = Client::builder(Arc::new(Memory::new())).start().await.unwrap();
    let a = gosd.add_local("orders", "http://a").unwrap();
    let mut orders = gosd_tower::discover(&gosd, "orders", |it| it.url().to_owned());
    assert_eq!(told(&mut orders, &gosd), ["+http://a"]);

    gosd.add_local("mail", "http://c").unwrap();
    gosd.add_local("orders", "http://b").unwrap();
    assert_eq!(told(&mut orders, &gosd), ["+http://b"]);

    for _ in 0..3 {
        gosd.report(&a, Outcome::Unreachable);
    }
    assert_eq!(told(&mut orders, &gosd), ["-http://a"]);
    gosd.report(&a, Outcome::Answered);
    assert_eq!(told(&mut orders, &gosd), ["+http://a"]);

    assert!(gosd.remove_local(&a));
    assert_eq!(told(&mut orders, &gosd), ["-"]);
    gosd.shutdown().await.unwrap();
    for _ in 0..2 {
        assert!(orders.next().await.is_none(), "it ends with the client");
    }
}

#[tokio::test]
async fn a_balancer_of_tower_goes_on_after_the_end_of_the_client() {
    let gosd = Client::builder(Arc::new(Memory::new())).start().await.unwrap();
    gosd.add_local("orders", "http://a").unwrap();
    let senders = gosd_tower::discover(&gosd, "orders", |it| {
        let url = it.url().to_owned();
        Constant::new(service_fn(move |()| ready(Ok::<_, Infallible>(url.clone()))), 0)
    });
    let mut orders = Balance::new(senders);
    assert_eq!(orders.ready().await.unwrap().call(()).await.unwrap(), "http://a");
    gosd.shutdown().await.unwrap();
    for _ in 0..2 {
        assert_eq!(orders.ready().await.unwrap().call(()).await.unwrap(), "http://a");
    }
}

#[tokio::test]
async fn an_instance_that_is_out_of_rotation_is_not_inserted() {
    let memory = Arc::new(Memory::new());
    let gosd = Client::builder(Arc::clone(&memory) as _).start().await.unwrap();
    let drained = Instance::new("orders", "http://drained").unwrap();
    let drain = Instance::drain_of(drained.id());
    let mut changes = gosd.changes();
    for record in [&drained, &drain] {
        memory.register(record, LEASE).await.unwrap();
    }
    let ejected = gosd.add_local("orders", "http://ejected").unwrap();
    gosd.add_local("orders", "http://in-rotation").unwrap();
    while gosd.drained().is_empty() {
        changes.next().await;
    }
    for _ in 0..3 {
        gosd.report(&ejected, Outcome::Unreachable);
    }
    let mut orders = gosd_tower::discover(&gosd, "orders", |it| it.url().to_owned());
    assert_eq!(told(&mut orders, &gosd), ["+http://in-rotation"]);

    // Not when its record changes, either.
    let changed = drained.clone().with_metadata("zone", "b");
    memory.register(&changed, LEASE).await.unwrap();
    while !gosd.instances("orders").iter().any(|it| **it == changed) {
        changes.next().await;
    }
    assert!(told(&mut orders, &gosd).is_empty());

    // Nor when more has happened than the stream can keep.
    for port in 1..=3_000 {
        gosd.add_local("mail", &format!("http://10.0.0.7:{port}")).unwrap();
    }
    assert!(told(&mut orders, &gosd).is_empty());

    memory.deregister(drain.id()).await.unwrap();
    while !gosd.drained().is_empty() {
        changes.next().await;
    }
    assert_eq!(told(&mut orders, &gosd), ["+http://drained"]);
    gosd.report(&ejected, Outcome::Answered);
    assert_eq!(told(&mut orders, &gosd), ["+http://ejected"]);
}
