use std::time::Duration;

use futures_util::future::join3;
use tokio::time::{sleep, timeout};

use crate::case::{Case, Client, LONG, Result, SLACK, instance, is_outage, moved};
use crate::follower::Follower;
use crate::{Fixture, Violation};

/// How soon a dead connection is to be an `Err`.
const NOTICED: Duration = Duration::from_secs(10);

/// Clause 6: where nothing is registered, `list` is empty, and no error.
pub async fn clause_06_nothing_is_an_empty_list(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(6, fixture);
    let client = case.client().await?;
    client.expect("in a namespace that nobody used", &[]).await?;
    let instance = instance("mail");
    client.register(&instance, LONG).await?;
    client.deregister(instance.id()).await?;
    client.expect("after the last one has gone", &[]).await
}

/// Clause 6: without contact every method fails, with a kind that core outwaits. Needs the hook
/// `interrupt`.
pub async fn clause_06_a_failure_is_an_error(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(6, fixture);
    let client = case.client().await?;
    let [stays, tried] = [instance("mail"), instance("mail")];
    client.register(&stays, LONG).await?;
    case.interrupt().await?;
    let driver = &client.driver;
    let (register, deregister, list) = join3(
        attempt(&case, "register", driver.register(&tried, LONG)),
        attempt(&case, "deregister", driver.deregister(tried.id())),
        attempt(&case, "list", driver.list()),
    )
    .await;
    case.restore().await?;
    register.and(deregister).and(list)?;
    client.retry("list", || driver.list()).await?;
    if !client.lists(stays.id()).await? {
        return case.fail("what was registered before the interruption in `list`", "its absence");
    }
    client.retry("register", || driver.register(&tried, LONG)).await?;
    client.expect("after the interruption", &[&stays, &tried]).await
}

/// Makes a call that must not succeed. No answer will do: core bounds the call.
async fn attempt<T: std::fmt::Debug>(
    case: &Case<'_>,
    name: &str,
    call: impl Future<Output = gosd_core::Result<T>>,
) -> Result<()> {
    let expected = || format!("`{name}` without contact to fail as `Unavailable` or `Timeout`");
    match timeout(SLACK, call).await {
        Err(_) => Ok(()),
        Ok(Err(error)) if is_outage(error.kind()) => Ok(()),
        Ok(came) => case.fail(expected(), format!("{came:?}")),
    }
}

/// Clause 9: on a dead connection an idle `watch` yields an `Err` within 10 s, and nothing else.
/// Needs a watch and the hook `interrupt`.
pub async fn clause_09_lost_contact_is_an_error(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(9, fixture);
    let client = case.client().await?;
    let stays = instance("mail");
    client.register(&stays, LONG).await?;
    let mut follower = Follower::start(&client).await?;
    follower.expect_outage();
    case.interrupt().await?;
    let error = follower.until_lost(NOTICED + SLACK).await?;
    if !is_outage(error.kind()) {
        let expected = "the loss of contact as `Unavailable` or `Timeout`";
        return case.fail(expected, format!("{error:?}"));
    }
    follower.stay_lost(Duration::from_secs(1)).await?;
    if !follower.view.contains_key(stays.id()) {
        return case.fail("a loss of contact to remove nothing", "an event that it has gone");
    }
    case.restore().await
}

/// Clause 9: polled again once contact is back, the stream goes on without a gap or with a
/// `Reset`. Needs a watch and the hook `interrupt`.
///
/// What changes during the outage: an instance is added, one is changed, one removed, and one runs
/// out. Where the fixture offers no driver that is unaffected, the first three happen just after
/// the outage, before the stream is polled.
pub async fn clause_09_an_outage_leaves_no_gap(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(9, fixture);
    let (owner, watcher) = (case.client().await?, case.client().await?);
    let unaffected = case.unaffected().await?;
    let lease = case.lease();
    let [stays, changes, leaves, expires] = ["a", "b", "c", "d"].map(instance);
    for instance in [&stays, &changes, &leaves] {
        owner.register(instance, LONG).await?;
    }
    let mut follower = Follower::start(&watcher).await?;
    follower.expect_outage();
    owner.register(&expires, lease).await?;
    follower.settle(&owner, SLACK).await?;
    case.interrupt().await?;
    follower.until_lost(NOTICED + SLACK).await?;
    let added = instance("e");
    let changed = moved(&changes, "http://10.0.0.8:25");
    let change = async |client: &Client| -> Result<()> {
        client.retry("register", || client.driver.register(&added, LONG)).await?;
        client.retry("register", || client.driver.register(&changed, LONG)).await?;
        client.retry("deregister", || client.driver.deregister(leaves.id())).await
    };
    if let Some(other) = &unaffected {
        change(other).await?;
    }
    sleep(lease).await;
    case.restore().await?;
    if unaffected.is_none() {
        change(&owner).await?;
    }
    owner.retry("list", || owner.driver.list()).await?;
    follower.settle(&owner, NOTICED + SLACK).await?;
    owner.register(&instance("f"), LONG).await?;
    follower.settle(&owner, NOTICED).await
}

/// Clause 9: a dropped `watch` frees what it held, so that any number can follow. Needs a watch.
pub async fn clause_09_dropped_watches_are_freed(fixture: &dyn Fixture) -> Result<(), Violation> {
    const WATCHES: usize = 64;
    let case = Case::new(9, fixture);
    let client = case.client().await?;
    client.register(&instance("mail"), LONG).await?;
    for _ in 0..WATCHES {
        drop(Follower::start(&client).await?);
    }
    let mut follower = Follower::start(&client).await?;
    client.register(&instance("mail"), LONG).await?;
    follower.settle(&client, SLACK).await
}
