//! Clauses 1, 4 and 8: when a lease begins and ends, for `list` and for `watch`.

use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use gosd_core::Instance;
use tokio::time::{Instant, sleep, sleep_until};

use crate::case::{Case, GRACE, LONG_LEASE, SLACK, instance, instances};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

/// The longest lease that core asks for: a day.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Clause 1: registering an instance again replaces its lease, by a longer or by a shorter one.
pub async fn clause_01_register_restarts_the_lease(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(1, fixture);
    let client = case.client().await?;
    let lease = case.lease();
    let [lengthened, shortened] = [instance("mail"), instance("mail")];
    client.register(&lengthened, lease).await?;
    client.register(&lengthened, LONG_LEASE).await?;
    client.register(&shortened, LONG_LEASE).await?;
    client.register(&shortened, lease).await?;
    client.expect_expiry(shortened.id(), Instant::now(), lease).await?;
    // By now the first lease of the lengthened instance would have run out too.
    client.expect("after a short lease was made long", &[&lengthened]).await
}

/// Clause 4: an instance is listed until its lease runs out, and not long after that.
pub async fn clause_04_expired_is_not_listed(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(4, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    // A lease that is no whole number of seconds, for backends that count in seconds.
    let lease = case.lease() + Duration::from_millis(900);
    let expires = instance("mail").with_metadata("zone", "b");
    let [stays, longest] = [instance("mail"), instance("mail")];
    let asked_at = Instant::now();
    // Only the database is left to end the lease.
    case.in_a_process_that_ends(async |owner| owner.register(&expires, lease).await).await?;
    let registered_at = Instant::now();
    client.register(&stays, LONG_LEASE).await?;
    client.register(&longest, LONGEST).await?;
    loop {
        let listed = other.lists(expires.id()).await?;
        if asked_at.elapsed() >= lease {
            break;
        }
        if !listed {
            return case.fail(
                format!("an instance with a lease of {lease:?} to be listed that long"),
                format!("it was absent {:?} after its registration", asked_at.elapsed()),
            );
        }
        sleep(lease / 10).await;
    }
    other.expect_expiry(expires.id(), registered_at, lease).await?;
    client.expect("after one of three leases has run out", &[&stays, &longest]).await?;
    client.register(&expires, LONG_LEASE).await?;
    client.expect("after `register` of what had expired", &[&stays, &longest, &expires]).await
}

/// Clause 4: a lease of ten minutes is not shortened to one. Takes 65 seconds, so it runs only when asked
/// for.
pub async fn clause_04_long_leases_last(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(4, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let stays = instance("mail");
    client.register(&stays, LONG_LEASE).await?;
    sleep(Duration::from_secs(65)).await;
    other.expect("65 s into a lease of ten minutes", &[&stays]).await
}

/// Clause 4: the removal of expired instances never touches one whose lease has not run out, even if it is
/// renewed at that very moment.
pub async fn clause_04_only_the_expired_are_removed(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    const EACH: usize = 100;
    const READERS: usize = 6;
    let case = Case::new(4, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let lease = case.lease();
    let (stay, go) = (instances(20, "mail"), instances(20, "mail"));
    client.register_all(&stay, LONG_LEASE).await?;
    client.register_all(&go, lease).await?;
    let registered_at = Instant::now();
    let mut renewed = Vec::new();
    for instance in instances(EACH, "mail") {
        client.register(&instance, lease).await?;
        renewed.push((instance, Instant::now() + lease));
    }
    // Each instance is renewed within some 10 ms of the end of its lease, while several clients read. A
    // driver that removes what it found expired a moment before has many chances to remove a renewed one.
    let spread = Duration::from_millis(10);
    let renewals = try_join_all((0..).zip(&renewed).map(|(n, (instance, expiry))| {
        let at = *expiry + spread * (n % 20) / 10 - spread;
        let client = &client;
        async move {
            sleep_until(at).await;
            client.register(instance, LONG_LEASE).await
        }
    }));
    let [first, last] = [0, EACH - 1].map(|n| renewed[n].1);
    let reads = try_join_all((0..READERS).map(|_| async {
        sleep_until(first - spread * 2).await;
        while Instant::now() < last + spread * 5 {
            other.list().await?;
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }));
    try_join(renewals, reads).await?;
    for instance in &go {
        other.expect_expiry(instance.id(), registered_at, lease).await?;
    }
    // A task in the background may still remove what it found expired.
    sleep(Duration::from_millis(500)).await;
    let renewed = renewed.iter().map(|(instance, _)| instance);
    let live: Vec<&Instance> = stay.iter().chain(renewed).collect();
    other.expect("after some of the leases have run out", &live).await
}

/// Clause 8: `watch` reports an expiry although nobody renews, writes or lists, and the client that
/// registered the instance is gone. Needs a watch.
pub async fn clause_08_expiry_reaches_watchers(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(8, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let lease = case.lease();
    let [stays, before] = [instance("mail"), instance("mail")];
    let after = instances(5, "mail");
    case.in_a_process_that_ends(async |owner| {
        owner.register(&stays, LONG_LEASE).await?;
        owner.register(&before, lease).await
    })
    .await?;
    let mut follower = Follower::start(&other).await?;
    follower.must_keep([&stays]);
    case.in_a_process_that_ends(async |owner| owner.register_all(&after, lease * 2).await).await?;
    let latest = Instant::now() + lease * 2 + GRACE + SLACK;
    while !follower.has(&after) {
        if follower.next(latest).await?.is_none() {
            return case.fail("the `Put` of an instance", "nothing in time");
        }
    }
    // On a fast machine one instance was in the snapshot. The others came as events.
    for id in [&before].into_iter().chain(&after).map(Instance::id) {
        follower.until_expired(id, latest).await?;
    }
    follower.settle(&owner, SLACK).await?;
    owner.register(&after[0], LONG_LEASE).await?;
    follower.settle(&owner, SLACK).await
}

/// Clause 8: an expiry that another client's `list` found first reaches `watch` too, and the instance is in
/// no later snapshot. Needs a watch.
pub async fn clause_08_expiry_passes_no_watcher_by(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(8, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let lease = case.lease();
    let all = instances(5, "mail");
    owner.register_all(&all, lease).await?;
    let registered_at = Instant::now();
    let mut follower = Follower::start(&other).await?;
    for instance in &all {
        owner.expect_expiry(instance.id(), registered_at, lease).await?;
    }
    follower.settle(&owner, GRACE + SLACK).await?;
    let snapshot = Follower::start(&other).await?;
    match snapshot.view.values().next() {
        None => Ok(()),
        Some(dead) => case.fail("no expired instance in a `Reset`", shown(dead)),
    }
}
