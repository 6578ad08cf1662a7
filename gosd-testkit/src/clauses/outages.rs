//! Clauses 6 and 9: a backend that cannot be reached for a while.

use std::time::Duration;

use futures_util::future::join3;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep, timeout};

use crate::case::{Case, Client, LONG_LEASE, Result, SLACK, instance, is_outage, moved};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

/// Within this time a dead connection has to become an `Err`.
const NOTICED: Duration = Duration::from_secs(10);
/// How much longer the kit waits: little, because the contract's time is generous.
const LATE: Duration = Duration::from_secs(2);

/// Clause 6: where nothing is registered, `list` returns an empty list, and no error.
pub async fn clause_06_nothing_is_an_empty_list(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(6, fixture);
    let client = case.client().await?;
    client.expect("in a namespace that nobody used", &[]).await?;
    let instance = instance("mail");
    client.register(&instance, LONG_LEASE).await?;
    client.deregister(instance.id()).await?;
    client.expect("after the last one has gone", &[]).await
}

/// Clause 6: without contact every method fails, with a kind of error after which core tries again. Needs the
/// hook `interrupt`.
pub async fn clause_06_a_failure_is_an_error(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(6, fixture);
    let client = case.client().await?;
    let [stays, tried] = [instance("mail"), instance("mail")];
    client.register(&stays, LONG_LEASE).await?;
    case.interrupt().await?;
    let driver = &client.driver;
    let (register, deregister, list) = join3(
        attempt(&case, "register", driver.register(&tried, LONG_LEASE)),
        attempt(&case, "deregister", driver.deregister(tried.id())),
        attempt(&case, "list", driver.list()),
    )
    .await;
    case.restore().await?;
    register.and(deregister).and(list)?;
    // The first call that succeeds has the whole list; until then a driver has to return an error.
    let list = client.retry("list", || driver.list()).await?;
    if !list.contains(&stays) {
        return case.fail("what was registered before the interruption in `list`", "its absence");
    }
    client.retry("register", || driver.register(&tried, LONG_LEASE)).await?;
    client.expect("after the interruption", &[&stays, &tried]).await
}

/// Makes a call that must not succeed. A call that never returns passes too, because core bounds calls in
/// time.
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

/// Clause 9: on a dead connection an idle `watch` yields an `Err` within 10 s, and nothing else. Needs a
/// watch and the hook `interrupt`.
pub async fn clause_09_lost_contact_is_an_error(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(9, fixture);
    let client = case.client().await?;
    let stays = instance("mail");
    client.register(&stays, LONG_LEASE).await?;
    let mut follower = Follower::start(&client).await?;
    follower.must_keep([&stays]);
    follower.expect_outage();
    case.interrupt().await?;
    let error = follower.until_lost(NOTICED + LATE).await?;
    if !is_outage(error.kind()) {
        let expected = "the loss of contact as `Unavailable` or `Timeout`";
        return case.fail(expected, format!("{error:?}"));
    }
    // Polled again without contact, a watch tries to connect, and continues from that attempt once contact is
    // back.
    follower.stay_lost(Duration::from_millis(500)).await?;
    // Where requests are lost without an error, the attempt under way ends only when its own time is up.
    let is_loud = timeout(LATE, client.driver.list()).await.is_ok();
    follower.stay_lost(Duration::from_millis(500)).await?;
    case.restore().await?;
    client.retry("list", || client.driver.list()).await?;
    let asked_at = Instant::now();
    let other = case.client().await?;
    drop(Follower::start(&other).await?);
    // The time that a new connection needs, and a margin.
    let within = asked_at.elapsed() + if is_loud { LATE } else { NOTICED + SLACK };
    follower.until_event(within).await
}

/// Clause 9: a `watch` that is opened without contact yields an `Err`, and its `Reset` once contact is back.
/// Needs a watch and the hook `interrupt`.
pub async fn clause_09_opened_without_contact(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(9, fixture);
    let (client, new) = (case.client().await?, case.client().await?);
    let stays = instance("mail");
    client.register(&stays, LONG_LEASE).await?;
    case.interrupt().await?;
    let mut followers = Vec::new();
    // One client had contact before, and the other never had.
    for client in [&client, &new] {
        let mut follower = Follower::open(client)?;
        follower.expect_outage();
        let error = follower.until_lost(NOTICED + LATE).await?;
        if !is_outage(error.kind()) {
            let expected = "no contact as `Unavailable` or `Timeout`";
            return case.fail(expected, format!("{error:?}"));
        }
        // A cache between client and backend may still answer with what it knows, but not with an empty list.
        if follower.has_snapshot() && !follower.has([&stays]) {
            return case.fail("no empty `Reset` without contact", shown(&follower.view));
        }
        followers.push(follower);
    }
    for follower in &mut followers {
        follower.stay_lost(Duration::from_millis(200)).await?;
    }
    case.restore().await?;
    client.retry("list", || client.driver.list()).await?;
    for follower in &mut followers {
        follower.until_event(NOTICED + SLACK).await?;
        follower.settle(&client, SLACK).await?;
    }
    Ok(())
}

/// Clause 9: a watch notices that the backend lost everything during an outage. Needs a watch and the hooks
/// `interrupt` and `wipe`.
pub async fn clause_09_a_loss_during_an_outage_is_noticed(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    let case = Case::new(9, fixture);
    let (owner, watcher) = (case.client().await?, case.client().await?);
    let [lost, returns] = [instance("mail"), instance("mail")];
    for instance in [&lost, &returns] {
        owner.register(instance, LONG_LEASE).await?;
    }
    let mut follower = Follower::start(&watcher).await?;
    follower.expect_outage();
    case.interrupt().await?;
    follower.until_lost(NOTICED + LATE).await?;
    // The fixture may be unable to reach a backend that is cut off. The watch is not polled meanwhile.
    case.restore().await?;
    case.wipe().await?;
    owner.retry("register", || owner.driver.register(&returns, LONG_LEASE)).await?;
    owner.retry("list", || owner.driver.list()).await?;
    follower.settle(&owner, NOTICED + SLACK).await
}

/// Clause 9: once contact is back, the next poll of the stream continues without a gap or yields a `Reset`.
/// Needs a watch and the hook `interrupt`.
///
/// During the outage an instance is added, one is changed, one is removed, and one expires. If the fixture
/// offers no driver that is unaffected, the first three happen just after the outage, before the stream is
/// polled.
pub async fn clause_09_an_outage_leaves_no_gap(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(9, fixture);
    let (owner, watcher) = (case.client().await?, case.client().await?);
    let unaffected = case.unaffected().await?;
    let lease = case.lease();
    let [stays, changes, leaves, expires] = ["a", "b", "c", "d"].map(instance);
    for instance in [&stays, &changes, &leaves] {
        owner.register(instance, LONG_LEASE).await?;
    }
    let mut follower = Follower::start(&watcher).await?;
    follower.expect_outage();
    follower.must_keep([&stays, &changes]);
    owner.register(&expires, lease).await?;
    follower.settle(&owner, SLACK).await?;
    case.interrupt().await?;
    follower.until_lost(NOTICED + SLACK).await?;
    let added = instance("e");
    let changed = moved(&changes, "http://10.0.0.8:25");
    let change = async |client: &Client| -> Result<()> {
        client.retry("register", || client.driver.register(&added, LONG_LEASE)).await?;
        client.retry("register", || client.driver.register(&changed, LONG_LEASE)).await?;
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
    owner.register(&instance("f"), LONG_LEASE).await?;
    follower.settle(&owner, NOTICED).await
}

/// Clause 9: a dropped `watch` frees what it held, so that any number of others can be opened. Needs a watch.
pub async fn clause_09_dropped_watches_are_freed(fixture: &dyn Fixture) -> Result<(), Violation> {
    const WATCHES: usize = 1_100;
    let case = Case::new(9, fixture);
    let client = case.client().await?;
    client.register(&instance("mail"), LONG_LEASE).await?;
    let watches = stream::iter(0..WATCHES).map(|_| Follower::start(&client));
    let dropped = watches.buffer_unordered(8).map_ok(drop);
    dropped.try_collect::<()>().await?;
    let mut follower = Follower::start(&client).await?;
    client.register(&instance("mail"), LONG_LEASE).await?;
    follower.settle(&client, SLACK).await
}
