use std::time::Duration;

use futures_util::future::try_join_all;
use gosd_core::{Event, Instance};
use tokio::time::{Instant, sleep, sleep_until};

use crate::case::{Case, Client, GRACE, LONG, PACE, Result, SLACK, instance};
use crate::follower::{Follower, shown};
use crate::{Fixture, Violation};

/// Clause 1: registering an instance again starts its lease anew, longer or shorter.
pub async fn clause_01_register_restarts_the_lease(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(1, fixture);
    let client = case.client().await?;
    let lease = case.lease();
    let [lengthened, shortened] = [instance("mail"), instance("mail")];
    client.register(&lengthened, lease).await?;
    client.register(&lengthened, LONG).await?;
    client.register(&shortened, LONG).await?;
    client.register(&shortened, lease).await?;
    client.expect_expiry(shortened.id(), Instant::now(), lease).await?;
    // By now the first lease of the other one has run out too.
    client.expect("after a short lease was made long", &[&lengthened]).await
}

/// Clause 4: an instance is listed until its lease runs out, and not for long after it.
pub async fn clause_04_expired_is_not_listed(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(4, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let lease = case.lease();
    let expires = instance("mail").with_metadata("zone", "b");
    let stays = instance("mail");
    client.register(&stays, LONG).await?;
    let asked_at = Instant::now();
    client.register(&expires, lease).await?;
    let registered_at = Instant::now();
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
    client.expect("after one of two leases has run out", &[&stays]).await?;
    client.register(&expires, LONG).await?;
    client.expect("after `register` of what had expired", &[&stays, &expires]).await
}

/// Clause 4: removing what has expired never touches what has not, a renewal at that very moment
/// included.
pub async fn clause_04_only_the_expired_are_removed(
    fixture: &dyn Fixture,
) -> Result<(), Violation> {
    const EACH: u32 = 20;
    let case = Case::new(4, fixture);
    let (client, other) = (case.client().await?, case.client().await?);
    let lease = case.lease();
    let [mut stay, mut go, mut renewed] = [Vec::new(), Vec::new(), Vec::new()];
    for (group, lease) in [(&mut stay, LONG), (&mut go, lease), (&mut renewed, lease)] {
        for _ in 0..EACH {
            let new = instance("mail");
            client.register(&new, lease).await?;
            group.push(new);
        }
    }
    let expiry = Instant::now() + lease;
    // The renewals spread around the moment at which the leases run out, while another lists.
    let renewals = try_join_all((0..EACH).zip(&renewed).map(|(n, instance)| {
        let at = expiry + Duration::from_millis(10) * n - Duration::from_millis(10) * EACH / 2;
        let client = &client;
        async move {
            sleep_until(at).await;
            client.register(instance, LONG).await
        }
    }));
    let reads = async {
        while Instant::now() < expiry + Duration::from_millis(10) * EACH {
            other.list().await?;
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    futures_util::future::try_join(renewals, reads).await?;
    for instance in &go {
        other.expect_expiry(instance.id(), expiry - lease, lease).await?;
    }
    let live: Vec<&Instance> = stay.iter().chain(&renewed).collect();
    other.expect("after some of the leases have run out", &live).await
}

/// Clause 5: an instance that is renewed every third of its lease stays listed.
pub async fn clause_05_renewed_stays(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let instance = instance("mail");
    renew(&case, &owner, &instance, async || other.lists(instance.id()).await).await
}

/// Clause 5: `watch` does not take a renewed instance for an expired one. Needs a watch.
pub async fn clause_05_renewed_stays_for_watchers(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(5, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let instance = instance("mail");
    let mut follower = Follower::start(&other).await?;
    renew(&case, &owner, &instance, async || {
        while follower.next(Instant::now() + PACE).await?.is_some() {}
        Ok(follower.view.contains_key(instance.id()))
    })
    .await
}

/// Renews for more than two leases, looking before each renewal whether the instance is there.
///
/// A look counts only if it ended before the lease did, for on a busy machine the lease may indeed
/// have run out between two renewals; so what slows the test cannot fail it.
async fn renew(
    case: &Case<'_>,
    owner: &Client,
    instance: &Instance,
    mut look: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    const LOOKS: u32 = 8;
    let lease = case.lease();
    let give_up = Instant::now() + lease * 20;
    let mut seen = 0;
    while seen < LOOKS {
        let renewed_at = Instant::now();
        owner.register(instance, lease).await?;
        sleep(lease / 3).await;
        let there = look().await?;
        if renewed_at.elapsed() >= lease {
            seen = 0;
        } else if there {
            seen += 1;
        } else if seen > 0 {
            let came = format!("its absence {:?} after a renewal", renewed_at.elapsed());
            return case.fail(format!("an instance renewed within {lease:?} to stay"), came);
        }
        if Instant::now() > give_up {
            let came = "its absence, or calls so slow that its lease ran out, again and again";
            return case.fail("a renewed instance to be there", came);
        }
    }
    Ok(())
}

/// Clause 8: `watch` says that a lease ran out, although nobody renews, writes or lists. Needs a
/// watch.
pub async fn clause_08_expiry_reaches_watchers(fixture: &dyn Fixture) -> Result<(), Violation> {
    let case = Case::new(8, fixture);
    let (owner, other) = (case.client().await?, case.client().await?);
    let lease = case.lease();
    let [stays, before, after] = [instance("mail"), instance("mail"), instance("mail")];
    owner.register(&stays, LONG).await?;
    owner.register(&before, lease).await?;
    let mut follower = Follower::start(&other).await?;
    owner.register(&after, lease * 2).await?;
    let latest = Instant::now() + lease * 2 + GRACE + SLACK;
    while !follower.view.contains_key(after.id()) {
        if follower.next(latest).await?.is_none() {
            return case.fail("the `Put` of an instance", "nothing in time");
        }
    }
    // One was in the snapshot, if the machine was fast enough, and the other came as an event.
    for id in [before.id(), after.id()] {
        if !follower.view.contains_key(id) {
            continue;
        }
        let event = follower.until_gone(id, latest).await?;
        if !matches!(event, Event::Expire(_) | Event::Reset(_)) {
            return case
                .fail("the end of a lease as `Expire`, for `Remove` is a goodbye", shown(&event));
        }
    }
    if !follower.view.contains_key(stays.id()) {
        return case.fail("an unexpired instance to stay", "an event that it has gone");
    }
    owner.register(&after, LONG).await?;
    follower.settle(&owner, SLACK).await
}
