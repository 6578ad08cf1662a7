//! Clauses 2, 7 and 11: thousands of records, and many calls at once.

use futures_util::stream::{FuturesUnordered, TryStreamExt};
use gosd_core::Instance;
use tokio::task::JoinSet;

use crate::case::{Case, Client, LONG_LEASE, Result, difference, instances, moved, view_of};
use crate::follower::Follower;
use crate::{Fixture, Violation};

/// Clause 2: all of 2,500 registrations are in `list`, whatever the size of a page or a message.
pub async fn clause_02_thousands_are_listed(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(2, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let all = thousands();
    client.register_all(&all, LONG_LEASE).await?;
    expect_once_each(&case, &other, &all).await
}

/// Clause 7: all of 2,500 instances are in one `Reset`. Needs a watch.
pub async fn clause_07_a_large_snapshot_is_whole(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(7, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let all = thousands();
    client.register_all(&all, LONG_LEASE).await?;
    let follower = Follower::start(&other).await?;
    match difference(&view_of(all), &follower.view) {
        None => Ok(()),
        Some(came) => case.fail("a `Reset` with all 2,500 that are registered", came),
    }
}

/// Instances of some 5 MB in all, because messages have a maximum size too.
fn thousands() -> Vec<Instance> {
    let path = "p".repeat(1_800);
    let with_path = |instance| moved(&instance, &format!("http://10.0.0.7:25/{path}"));
    instances(2_500, "mail").into_iter().map(with_path).collect()
}

/// Clause 11: after 100 concurrent registrations by two clients, each instance is listed once.
pub async fn clause_11_concurrent_registrations(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(11, fixture);
    let clients = [case.client().await?, case.client().await?];
    let all = instances(100, "mail");
    // Tasks, so that the driver is used from several threads.
    let mut calls = JoinSet::new();
    for (n, instance) in all.iter().cloned().enumerate() {
        let client = clients[n % 2].clone();
        calls.spawn(async move { client.register(&instance, LONG_LEASE).await });
    }
    finish(&case, calls).await?;
    for client in &clients {
        expect_once_each(&case, client, &all).await?;
    }
    // The other client registers the same ids, while half of the instances leave, and while both clients
    // list.
    let (leave, stay) = all.split_at(50);
    let renewals = stay.iter().enumerate().map(|(n, instance)| {
        let client = &clients[(n + 1) % 2];
        async move { client.register(instance, LONG_LEASE).await }
    });
    let renewals: FuturesUnordered<_> = renewals.collect();
    let goodbyes: FuturesUnordered<_> =
        leave.iter().map(|instance| clients[0].deregister(instance.id())).collect();
    futures_util::future::try_join(renewals.try_collect::<()>(), goodbyes.try_collect::<()>())
        .await?;
    for client in &clients {
        expect_once_each(&case, client, stay).await?;
    }
    Ok(())
}

async fn expect_once_each(case: &Case<'_>, client: &Client, all: &[Instance]) -> Result<()> {
    let list = client.list().await?;
    let (count, view) = (list.len(), view_of(list));
    if let Some(came) = difference(&view_of(all.iter().cloned()), &view) {
        return case.fail("all of the concurrent registrations in `list`", came);
    }
    if count > all.len() {
        return case.fail(format!("{} entries, one each", all.len()), format!("{count}"));
    }
    Ok(())
}

async fn finish(case: &Case<'_>, mut calls: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = calls.join_next().await {
        match done {
            Ok(result) => result?,
            Err(error) => return case.fail("`register` to return", error.to_string()),
        }
    }
    Ok(())
}
