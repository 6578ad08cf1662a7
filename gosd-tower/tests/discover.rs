//! The stream of instances for tower's balancers.

use std::sync::Arc;

use futures_util::{FutureExt, Stream, StreamExt};
use gosd_core::{Client, InstanceId, Memory, Outcome};
use tower::discover::Change;

/// The items that are ready now, as `+url` and `-url`.
fn told(
    stream: &mut (
             impl Stream<Item = Result<Change<InstanceId, String>, std::convert::Infallible>> + Unpin
         ),
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
    assert!(orders.next().await.is_none(), "it ends with the client");
}
