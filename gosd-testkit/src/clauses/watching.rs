//! Clause 7: the snapshot of a watch, and the changes that follow it.

use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use gosd_core::Instance;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::case::{
    Case, LONG_LEASE, PACE, Result, SLACK, difference, instance, instances, moved, view_of,
};
use crate::follower::{Follower, Item, shown};
use crate::{Fixture, Violation};

/// Clause 7: the first item is a `Reset` with all that is registered, even if that is nothing. Needs a watch.
pub async fn clause_07_snapshot_comes_first(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(7, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let follower = Follower::start(&watcher).await?;
    if !follower.view.is_empty() {
        return case.fail("an empty `Reset` where nothing is registered", shown(&follower.view));
    }
    let registered = [
        instance("mail").with_metadata("zone", "b"),
        instance("mail"),
        moved(&instance("user"), "http://[::1]:80/x"),
    ];
    for instance in &registered {
        writer.register(instance, LONG_LEASE).await?;
    }
    let second = Follower::start(&watcher).await?;
    match difference(&view_of(registered), &second.view) {
        None => Ok(()),
        Some(came) => case.fail("a `Reset` with exactly what is registered", came),
    }
}

/// Clause 7: a new, a changed and a removed instance each reach every `watch`, of one client and
/// of another. Needs a watch.
pub async fn clause_07_every_change_follows(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(7, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let another = case.client().await?;
    let mut followers = Vec::new();
    for client in [&watcher, &watcher, &another] {
        followers.push(Follower::start(client).await?);
    }
    let plain = instance("mail");
    let rich = plain.clone().with_metadata("zone", "b");
    for now in [&plain, &moved(&plain, "http://10.0.0.8:25"), &rich, &plain] {
        writer.register(now, LONG_LEASE).await?;
        for follower in &mut followers {
            follower.until_put(now).await?;
        }
    }
    writer.deregister(plain.id()).await?;
    for follower in &mut followers {
        // `Expire` is allowed too, for drivers that cannot tell a goodbye from an expiry.
        follower.until_gone(plain.id(), Instant::now() + SLACK).await?;
    }
    writer.register(&plain, LONG_LEASE).await?;
    for follower in &mut followers {
        follower.until_put(&plain).await?;
    }
    // The client that watches writes as well.
    watcher.deregister(plain.id()).await?;
    for follower in &mut followers {
        follower.until_gone(plain.id(), Instant::now() + SLACK).await?;
    }
    Ok(())
}

/// Clause 7: each of many simultaneous changes reaches `watch`. Needs a watch.
pub async fn clause_07_a_burst_arrives_whole(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(7, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let (leave, come) = (instances(50, "mail"), instances(50, "user"));
    writer.register_all(&leave, LONG_LEASE).await?;
    let mut follower = Follower::start(&watcher).await?;
    let goodbyes = stream::iter(&leave).map(|gone| writer.deregister(gone.id()));
    let goodbyes = goodbyes.buffer_unordered(16).try_collect::<()>();
    try_join(writer.register_all(&come, LONG_LEASE), goodbyes).await?;
    // Some instances leave at once, and some of those return at once.
    for passing in &come[..5] {
        writer.deregister(passing.id()).await?;
    }
    writer.register_all(&leave[..5], LONG_LEASE).await?;
    follower.settle(&writer, SLACK * 2).await
}

/// Clause 7: a change that happens while a `watch` is being opened is in the snapshot or follows it. Needs a
/// watch.
pub async fn clause_07_no_gap_after_the_snapshot(fixture: &dyn Fixture) -> Result<(), Violation> {
    const WATCHES: usize = 10;
    let case = Case::new(7, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    for round in 0..WATCHES {
        let all = instances(40, "mail");
        // Each round opens the watch at another point of the writes.
        let open_after = round * 4;
        let (begin, begun) = oneshot::channel();
        let writes = async {
            let mut begin = Some(begin);
            for (n, instance) in all.iter().enumerate() {
                if n == open_after {
                    begin.take().map(|begin| begin.send(()));
                }
                writer.register(instance, LONG_LEASE).await?;
                yield_now().await;
                if n % 2 == 1 {
                    writer.deregister(all[n / 2].id()).await?;
                    yield_now().await;
                }
            }
            Ok(())
        };
        let open = async {
            // An error here means that the writes have failed, and the writer reports that failure.
            let _ = begun.await;
            Follower::start(&watcher).await
        };
        let ((), mut follower) = try_join(writes, open).await?;
        follower.settle(&writer, SLACK * 2).await?;
    }
    Ok(())
}

/// Clause 7: a reader that falls far behind still receives every change. Needs a watch.
pub async fn clause_07_a_slow_reader_misses_nothing(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    const CHANGES: usize = 2_000;
    let case = Case::new(7, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let leaves = instance("gone");
    writer.register(&leaves, LONG_LEASE).await?;
    let mut follower = Follower::start(&watcher).await?;
    let few = instances(50, "mail");
    writer.register_all(&few, LONG_LEASE).await?;
    follower.settle(&writer, SLACK).await?;
    writer.deregister(leaves.id()).await?;
    follower.must_keep(&few);
    for change in 0..CHANGES / few.len() {
        let url = format!("http://10.0.0.7:{}", 1_000 + change);
        let moved: Vec<Instance> = few.iter().map(|instance| moved(instance, &url)).collect();
        writer.register_all(&moved, LONG_LEASE).await?;
    }
    follower.settle(&writer, SLACK * 3).await
}

/// Clause 7: a watch reports that the backend lost everything. Needs a watch and the hook `wipe`.
pub async fn clause_07_a_wipe_reaches_watchers(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(7, fixture);
    let (writer, watcher) = (case.client().await?, case.client().await?);
    let [lost, returns] = [instance("mail"), instance("mail")];
    writer.register(&lost, LONG_LEASE).await?;
    writer.register(&returns, LONG_LEASE).await?;
    let mut follower = Follower::start(&watcher).await?;
    // A backend that lost its data may have lost its connections too.
    follower.expect_outage();
    case.wipe().await?;
    writer.retry("register", || writer.driver.register(&returns, LONG_LEASE)).await?;
    let deadline = Instant::now() + SLACK * 3;
    while follower.view.contains_key(lost.id()) {
        match follower.next(deadline).await? {
            Some(Item::Event(_)) => {}
            Some(Item::Lost(_)) => sleep(PACE).await,
            None => return case.fail("an event that the lost instance has gone", "nothing"),
        }
    }
    follower.settle(&writer, SLACK * 3).await
}
